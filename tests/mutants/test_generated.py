"""What is decided about generated mutants, and a small seeded sample of them."""

import os
import re

import pytest

from host.deadline import Deadline
from tests.mutants import generated
from tests.mutants.checkout import ROOT, Completed, copy_checkout, run_in
from tests.mutants.generated import Mutant
from tests.mutants.modules import ENDING, MODULES

CHANGE = ("-if a > 1:", "+if a >= 1:")
DIFF = "--- a.py\n+++ a.py\n@@ -1,3 +1,3 @@\n def f(a):\n-    if a > 1:\n+    if a >= 1:\n"


# Of each of these modules, whose tests are fast, the full tests try so many mutants.
SAMPLED, SAMPLE, SEED, SECONDS = ("web/server/paced_pool.py", "runs/leasing/rules.py"), 4, 22, 300.0


def make_mutant(exit_code=0, change=CHANGE, number=1):
    return Mutant(f"core.a.xǁRowǁread__mutmut_{number}", exit_code, change)


@pytest.mark.parametrize(
    ("exit_code", "is_caught"),
    [(0, False), (5, False), (33, False), (1, True), (3, True), (36, True), (-9, True)],
)
def test_mutant_is_caught_unless_it_survived_or_no_test_ran_it(exit_code, is_caught):
    assert make_mutant(exit_code).is_caught is is_caught


@pytest.mark.parametrize(
    ("change", "is_wording"),
    [
        (('-f("code", "It failed.")', '+f("code", "XXIt failed.XX")'), True),
        (('-f("code", "It failed.")', '+f("CODE", "It failed.")'), False),
        (('-f("code")', '+f("XXcodeXX")'), False),
        (('-f("code", "It failed.")', '+f("code", None)'), False),
        (CHANGE, False),
        ((), False),
    ],
)
def test_change_of_a_sentence_only_is_its_wording(change, is_wording):
    assert make_mutant(change=change).is_wording is is_wording


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("core.a.x_find__mutmut_12", "core.a.find"),
        ("core.a.x__find__mutmut_1", "core.a._find"),
        ("core.a.xǁRowǁread__mutmut_3", "core.a.Row.read"),
    ],
)
def test_mutants_of_a_function_have_its_name(name, function):
    assert Mutant(name, 0).function == function


def test_change_has_the_lines_that_differ():
    assert generated.find_change(DIFF) == CHANGE


def test_sample_is_the_same_for_a_seed():
    names = [f"a{n}" for n in range(50)]
    chosen = generated.choose(names, 5, 7)
    assert chosen == generated.choose(reversed(names), 5, 7) != generated.choose(names, 5, 8)
    assert len(set(chosen)) == 5
    assert sorted(generated.choose(names[:2], 5, 7)) == names[:2]


def test_table_leaves_out_what_no_test_need_catch(tmp_path):
    path = tmp_path / "accepted.txt"
    path.write_text(f"# Heading\n\ncore.a.Row.read\n{CHANGE[0]}\n{CHANGE[1]}\n= The same.\n")
    accepted = generated.read_accepted(path)
    assert accepted == {("core.a.Row.read", *CHANGE): "The same."}
    wording = ('-f("It is so.")', '+f("IT IS SO.")')
    mutants = [make_mutant(1), make_mutant(33, (), 2), make_mutant(), make_mutant(0, wording)]
    assert generated.count("core/a.py", [*mutants, make_mutant(-24)], {}).timed_out == 1
    row = generated.count("core/a.py", mutants, accepted)
    assert (row.tried, row.caught, row.wording, row.accepted) == (4, 1, 1, 1)
    assert [mutant.name for mutant in row.survivors] == ["core.a.xǁRowǁread__mutmut_2"]
    assert (row.share, generated.compute_share([row])) == (0.5, 0.5)
    line, *survivors = generated.format_row(row)
    assert line.split() == ["core/a.py", "4", "1", "0", "1", "1", "1", "50%"]
    assert survivors == ["  core.a.xǁRowǁread__mutmut_2"]


def test_each_accepted_survivor_has_a_change_and_a_reason():
    for key, reason in generated.read_accepted().items():
        assert len(key) >= 2 and all(line[0] in "-+" for line in key[1:]), key
        assert reason.endswith("."), key


@pytest.mark.parametrize("module", MODULES)
def test_module_and_its_tests_exist(module):
    assert MODULES[module]
    assert [path for path in (module, *MODULES[module]) if not (ROOT / path).is_file()] == []


@pytest.mark.pid_namespaces
def test_a_mutant_sees_no_process_of_the_host(tmp_path):
    done = run_in(tmp_path, ["sh", "-c", "readlink /proc/self/ns/pid; exit 3"], seconds=60)
    assert done.exit_code == 3
    assert done.output.strip() != os.readlink("/proc/self/ns/pid")
    killed = run_in(tmp_path, ["sh", "-c", "kill -KILL $$"], seconds=60)
    assert killed.exit_code == generated.MUTMUT_KILLED


@pytest.mark.parametrize("module", ENDING)
def test_without_a_namespace_nothing_that_ends_processes_is_mutated(module, monkeypatch, tmp_path):
    monkeypatch.setattr(generated, "isolate_argv", lambda: ())
    with pytest.raises(RuntimeError, match="may end any process"):
        generated.try_module(tmp_path, module, 1, 22, Deadline(60))


def test_after_a_mutant_that_ended_mutmut_the_others_are_tried(monkeypatch, tmp_path):
    (tmp_path / "mutants").mkdir()
    codes, asked = dict.fromkeys("abcd"), []

    def run_tool(folder, code, *arguments, seconds):
        *_, first, second = names = arguments[3:]
        asked.append("".join(names))
        codes[names[0]] = 1
        if names[0] != "a":
            codes.update({first: 1, second: 0})
            return Completed(0, "")
        (tmp_path / "mutants" / "present").write_text("b")
        return Completed(generated.MUTMUT_KILLED, "")

    monkeypatch.setattr(generated, "run_tool", run_tool)
    monkeypatch.setattr(generated, "read_exit_codes", lambda folder, module: dict(codes))
    found = generated.run_mutmut(tmp_path, "core/a.py", list("abcd"), Deadline(60))
    assert asked == ["abcd", "cd"]
    assert found == {"a": 1, "b": generated.KILLED_CODE, "c": 1, "d": 0}
    assert Mutant("b", generated.KILLED_CODE).is_caught


def test_tests_that_end_without_a_mutant_are_an_error(monkeypatch, tmp_path):
    done = Completed(generated.MUTMUT_KILLED, "no memory")
    monkeypatch.setattr(generated, "run_tool", lambda *arguments, seconds: done)
    with pytest.raises(RuntimeError, match="no memory"):
        generated.run_mutmut(tmp_path, "core/a.py", ["a"], Deadline(60))


@pytest.mark.full
def test_every_module_of_rules_is_among_those_that_are_mutated():
    rules = {str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/rules.py")}
    assert rules <= set(MODULES)


def test_the_tool_has_the_versions_that_the_tests_have():
    tool, ours = (
        dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements" / name).read_text(), re.M))
        for name in ("mutants.txt", "dev.txt")
    )
    assert "mutmut" in tool
    assert {name: ours[name] for name in tool.keys() & ours} == {
        name: tool[name] for name in tool.keys() & ours
    }


@pytest.mark.full
@pytest.mark.parametrize("module", SAMPLED)
def test_a_sample_of_the_generated_mutants_is_caught(module, monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with copy_checkout() as folder:
        generated.install_tool(folder)
        mutants = generated.try_module(folder, module, SAMPLE, SEED, Deadline(SECONDS))
    row = generated.count(module, mutants, generated.read_accepted())
    assert (row.tried, row.survivors) == (SAMPLE, [])
