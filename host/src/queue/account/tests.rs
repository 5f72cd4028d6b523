//! Stories of the account by itself.

use super::*;

fn seen(length: usize, alive: &[u64]) -> Snapshot {
    Snapshot {
        length: Some(length),
        alive: Some(alive.iter().copied().collect()),
    }
}

fn brief(length: usize) -> Snapshot {
    Snapshot {
        length: Some(length),
        alive: None,
    }
}

/// What is left owed after one run that began with `before` and ended with `after`.
fn left(before: Snapshot, after: Snapshot) -> usize {
    let mut account = Account::default();
    assert!(account.book(before));
    account.observe(after);
    account.clear()
}

#[test]
fn a_run_that_takes_nothing_owes_its_head() {
    assert_eq!(left(seen(1, &[1]), seen(1, &[1])), 1);
    assert_eq!(left(seen(3, &[1, 2, 3]), seen(3, &[1, 2, 3])), 1);
}

#[test]
fn newcomers_do_not_hide_that_nothing_was_taken() {
    assert_eq!(left(seen(1, &[1]), seen(3, &[1, 2, 3])), 1);
}

#[test]
fn newcomers_do_not_hide_that_one_was_taken() {
    assert_eq!(left(seen(1, &[1]), seen(1, &[2])), 0);
    assert_eq!(left(seen(2, &[1, 2]), seen(4, &[2, 3, 4, 5])), 0);
}

#[test]
fn a_queue_of_clients_that_have_reset_hits_nobody_when_it_is_closed() {
    assert_eq!(left(seen(1, &[1]), seen(1, &[])), 1);
}

#[test]
fn a_client_that_resets_in_the_queue_does_not_get_another_closed_unserved() {
    // 1 was taken and 3 came and reset, or 1 reset: in the first case 2 is the head.
    assert_eq!(left(seen(2, &[1, 2]), seen(2, &[2])), 0);
    // One that had reset was taken and another came and reset, or it is still there.
    assert_eq!(left(seen(2, &[2]), seen(2, &[2])), 0);
}

#[test]
fn what_stays_unclear_is_closed_after_two_runs_or_ten_if_the_job_has_accepted() {
    for (proven, runs) in [(false, LITTLE_PATIENCE), (true, PATIENCE)] {
        let mut account = Account::default();
        if proven {
            assert!(account.book(seen(1, &[1])));
            account.empty();
        }
        for run in 1..=runs {
            assert!(account.book(seen(2, &[2])));
            account.observe(seen(2, &[2]));
            assert_eq!(account.clear(), usize::from(run == runs), "{proven} {run}");
        }
    }
}

#[test]
fn a_connection_whose_run_is_over_is_free_again_after_a_moment() {
    let mut account = Account::new(true);
    let begin = Instant::now();
    assert!(account.book(seen(1, &[1])));
    // The first run accepts and goes on; the second does not, and ends.
    assert!(account.book(seen(1, &[2])));
    let second = account.booking();
    account.over(second, begin);
    account.observe(seen(1, &[2]));
    assert_eq!(account.verdict(1, begin), Verdict::Waiting);
    account.give_back(begin);
    assert!(!account.book(seen(1, &[2])), "not at once");
    account.give_back(account.retry_at().unwrap());
    assert!(account.book(seen(1, &[2])));
}

#[test]
fn a_run_that_ends_after_another_took_its_connection_frees_that_of_the_other() {
    let begin = Instant::now();
    for looks in [[true, false], [false, true]] {
        let mut account = Account::new(true);
        assert!(account.book(seen(1, &[1])));
        let first = account.booking();
        assert!(account.book(seen(2, &[1, 2])));
        // The second run takes the connection of the first, which ends; either is seen before the other.
        for taken in looks {
            if taken {
                account.observe(seen(1, &[2]));
            } else {
                account.over(first, begin);
            }
        }
        assert_eq!(account.verdict(1, begin), Verdict::Waiting);
        assert!(!account.book(seen(1, &[2])), "not at once");
        account.give_back(account.retry_at().unwrap());
        assert!(account.book(seen(1, &[2])));
    }
}

#[test]
fn the_end_of_a_run_that_is_owed_for_no_more_frees_nothing() {
    let mut account = Account::new(true);
    assert!(account.book(seen(1, &[1])));
    let first = account.booking();
    assert!(account.book(seen(1, &[2])));
    account.over(first, Instant::now());
    assert_eq!(account.verdict(1, Instant::now()), Verdict::Taken);
    assert_eq!(account.retry_at(), None);
}

#[test]
fn a_job_that_accepts_is_trusted_with_more_and_more_runs_until_it_does_not() {
    let mut account = Account::default();
    for accepted in 0..8 {
        assert!(account.book(seen(2, &[1, 2])));
        account.observe(seen(2, &[2, 3]));
        let runs = (0..1000).take_while(|_| {
            let relays = account.relays();
            account.relay(brief(2), true);
            relays > 0
        });
        assert_eq!(runs.count(), 1 << accepted.min(6));
        account.observe(brief(2));
        account.clear();
        assert_eq!(account.depth_before(), Depth::Identities);
    }
    assert!(account.book(seen(2, &[1, 2])));
    account.observe(seen(2, &[2, 3]));
    account.relay(brief(2), false);
    assert_eq!(account.relays(), 0);
    account.observe(brief(2));
    assert!(account.book(seen(2, &[1, 2])));
    account.observe(seen(2, &[1, 2]));
    assert_eq!(account.clear(), 1);
    assert_eq!(account.relays(), 0);
}

#[test]
fn a_queue_that_becomes_shorter_keeps_the_trust() {
    let mut account = Account::default();
    assert!(account.book(seen(4, &[1, 2, 3, 4])));
    account.observe(seen(4, &[2, 3, 4, 5]));
    for _ in 0..1000 {
        assert_eq!(account.relays(), 3);
        account.relay(brief(3), true);
        account.relay(brief(4), true);
    }
    account.relay(brief(1), true);
    assert_eq!(account.relays(), 0, "nobody else waits");
}

#[test]
fn a_run_that_was_lost_keeps_no_booking() {
    let mut account = Account::new(true);
    assert!(account.book(seen(2, &[1, 2])));
    assert!(account.book(seen(2, &[1, 2])));
    account.observe(seen(2, &[1, 2]));
    assert_eq!(account.verdict(1, Instant::now()), Verdict::Waiting);
    account.give_back(account.retry_at().unwrap());
    assert!(account.book(seen(2, &[1, 2])));
}

#[test]
fn several_instances_never_go_by_the_length_alone() {
    let mut account = Account::new(true);
    assert!(account.book(seen(1, &[1])));
    account.empty();
    assert_eq!(account.depth_before(), Depth::Identities);
}

#[test]
fn a_client_that_reset_before_the_run_and_was_taken_is_not_owed() {
    assert_eq!(left(seen(2, &[2]), seen(1, &[2])), 0);
}

#[test]
fn a_newcomer_is_never_closed_for_one_that_vanished() {
    assert_eq!(left(seen(1, &[1]), seen(2, &[2])), 0);
}

#[test]
fn a_shorter_queue_is_proof_without_identities() {
    assert_eq!(left(brief(2), brief(1)), 0);
}

#[test]
fn a_job_that_accepted_is_doubted_once_only() {
    let mut account = Account::default();
    assert!(account.book(seen(1, &[1])));
    account.observe(seen(1, &[2]));
    assert_eq!(account.clear(), 0);
    assert_eq!(account.depth_before(), Depth::Length);
    assert!(account.book(brief(1)));
    assert!(!account.needs_identities(&brief(1)));
    account.observe(brief(1));
    assert_eq!(account.clear(), 0);
    assert_eq!(account.depth_before(), Depth::Identities);
    assert!(account.book(seen(1, &[2])));
    account.observe(seen(1, &[2]));
    assert_eq!(account.clear(), 1);
}

#[test]
fn no_more_runs_are_booked_than_connections_wait() {
    let mut account = Account::default();
    assert!(account.book(seen(2, &[1, 2])));
    assert!(account.book(seen(2, &[1, 2])));
    assert!(!account.book(seen(2, &[1, 2])));
    assert!(account.book(seen(2, &[2, 3])));
}

#[test]
fn where_nothing_is_known_patience_ends() {
    let mut account = Account::default();
    let mut closed = 0;
    for _ in 0..PATIENCE {
        assert!(account.book(Snapshot::unknown()));
        account.observe(Snapshot::unknown());
        closed += account.clear();
    }
    assert_eq!(closed, 1);
}
