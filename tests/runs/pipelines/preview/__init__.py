"""Previews as their neighbours, their reviewers and their authors meet them, and what proves it.

Each fault of what a slot runs has tests that fail if its guard is removed, in this room or below.

A check's grandchild holds its output
    test_a_check_is_over_a_second_after_its_2_s_and_leaves_no_process
    test_a_grandchild_that_holds_the_output_ends_with_the_time_limit
A stranger on the port answers 200
    test_a_stranger_on_the_port_is_never_healthy_and_is_named
A state file names a foreign process
    test_a_state_file_that_names_a_foreign_process_signals_nobody
Two starts of one slot at once
    test_many_starts_at_once_make_one_process
    test_a_backend_that_somebody_restarts_is_not_taken_for_dead
A backend ignores SIGTERM, or forks
    test_all_processes_are_gone_after_a_stop
    test_a_process_that_left_its_family_is_gone_when_the_slot_is_idle
A backend dies, and dies again
    test_a_dead_backend_is_told_in_5_s_and_started_again_until_it_only_dies
A branch is hostile
    test_a_hostile_preview_gets_nothing
    test_a_hostile_preview_lists_only_what_is_its_own_or_public
"""
