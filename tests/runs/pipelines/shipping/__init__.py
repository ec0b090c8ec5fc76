"""Both pipelines on real parts, and which tests prove what they survive.

Faults that befall a step, whichever it is, are put at every one of them in `test_harness`.

A worker killed
  by a step's row          test_a_fault_at_any_step_ends_as_without_it
  after its effect         test_a_killed_worker_is_not_to_be_seen_at_the_end
  and main moved on since  test_a_remote_that_moved_on_after_a_lost_push_has_it_still
  at each attempt          test_a_step_that_kills_its_worker_is_given_up
  by SIGTERM in a deploy   test_sigterm_during_a_deploy_is_resumed
Its queue killed
  an idle worker, monitor  test_a_queue_that_freezes_is_told_and_begun_anew
  its main process         test_a_queue_whose_main_process_dies_leaves_nobody_and_nothing_twice
Git and the remote
  main moves after gating  test_a_remote_that_moved_since_the_gate_means_a_new_candidate
  main moves before push   test_a_remote_that_moves_before_the_push_means_a_new_candidate
  a push that is late      test_a_push_that_takes_too_long_is_asked_for_and_found
  a push that is lost      test_a_push_that_takes_too_long_and_is_not_there_fails
  a stale lock             test_a_stale_lock_is_waited_for_a_little_and_then_named
The host
  PostgreSQL restarted     test_a_database_that_breaks_within_any_step_keeps_what_was_done
  a step's session ended   test_a_step_whose_connection_was_ended_stops_before_the_next_effect
  a grandchild that stays  test_a_check_that_leaves_a_grandchild_is_over_when_it_ends
  a check that hangs       test_a_check_that_hangs_ends_with_its_time_and_its_family
  a full disk              test_a_disk_that_is_full_ends_the_run_and_nothing_else
  no room for logs         test_a_run_for_whose_logs_there_is_no_room_says_so
  no room for a database   test_a_database_for_which_there_is_no_room_ends_the_run
  a sick release           test_a_release_that_is_not_healthy_freezes_until_the_retry_is_merged
Leases and people
  runs out in preparing    test_a_lease_that_runs_out_while_its_run_is_prepared_stops_it_cleanly
  runs out in shipping     test_a_lease_does_not_run_out_while_its_run_ships
  runs out just before     test_a_preview_whose_lease_has_run_out_does_not_begin_to_ship
  cancel or reject at work test_stopping_a_run_ends_its_processes_first
  two approvals of one run test_two_approvals_of_one_run_are_one
  two runs approved        test_two_runs_approved_at_once_ship_one_after_the_other
  twenty runs, three slots test_many_runs_over_three_slots_are_merged_in_the_order_of_approval
"""
