"""A plugin of pytest for the mutants: Hypothesis tries the same examples each time, however slow.

Otherwise a mutant could be caught in one run only, or by a busy machine. That an example fails is
enough: no smaller one is looked for.
"""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutants",
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mutants")
