//! What to do after a chunk has broken its guest. Pure.
//!
//! The same chunk again, for it may have been an accident; then halves, until one record is left: the
//! poison. Two things a record is never blamed for: a guest that has done nothing right since it was
//! configured (more than a few times), and a deadline that a guest missed while it waited for the world.
//! One that it missed computing is the record's fault as a trap is.

use crate::guest::Cause;

/// So many records a guest that has yet to do one right may blame.
const UNPROVEN_MAX: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    SameAgain,
    /// The first so many records, then the rest.
    Split(u32),
    /// The one record is to blame.
    Poison,
    /// It is not the records' fault.
    Wait,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub cause: Cause,
    pub count: u32,
    /// How often this very chunk, or the one it was cut from, has been tried.
    pub attempts: u32,
    /// The guest may wait for files, services or databases.
    pub waits: bool,
    /// The guest has done something right since it was configured.
    pub proven: bool,
    /// Records it has been blamed for before it did.
    pub blamed: u32,
}

pub(super) fn next(case: &Case) -> Next {
    if case.cause == Cause::Host {
        return Next::Wait;
    }
    if case.attempts <= 1 {
        return Next::SameAgain;
    }
    if case.count > 1 {
        return Next::Split(case.count / 2);
    }
    if case.cause == Cause::Waited && case.waits {
        return Next::Wait;
    }
    if case.proven || case.blamed < UNPROVEN_MAX { Next::Poison } else { Next::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a chunk in which `poison` breaks the guest; who is blamed, and after how many calls.
    fn play(count: u32, poison: &[u32]) -> (Vec<u32>, u32) {
        let mut stack = vec![(0, count, 1)];
        let (mut blamed, mut calls, mut proven) = (Vec::new(), 0, false);
        while let Some((first, count, attempts)) = stack.pop() {
            calls += 1;
            if !poison.iter().any(|p| (first..first + count).contains(p)) {
                proven = true;
                continue;
            }
            let case = Case {
                cause: Cause::Trap,
                count,
                attempts,
                waits: true,
                proven,
                blamed: blamed.len() as u32,
            };
            match next(&case) {
                Next::SameAgain => stack.push((first, count, attempts + 1)),
                Next::Split(at) => {
                    stack.push((first + at, count - at, 2));
                    stack.push((first, at, 2));
                }
                Next::Poison => blamed.push(first),
                Next::Wait => return (blamed, calls),
            }
        }
        (blamed, calls)
    }

    #[test]
    fn exactly_the_poison_is_found_in_the_order_of_the_log() {
        assert_eq!(play(1, &[0]), (vec![0], 2));
        assert_eq!(play(1024, &[1023]), (vec![1023], 22));
        assert_eq!(play(1000, &[0, 1, 500, 999]).0, [0, 1, 500, 999]);
        assert_eq!(play(7, &[]), (vec![], 1));
    }

    #[test]
    fn a_guest_that_does_nothing_right_does_not_fill_the_dead_letters() {
        let all: Vec<u32> = (0..10_000).collect();
        assert_eq!(play(10_000, &all).0, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn waiting_for_the_world_is_no_records_fault() {
        let case = Case { cause: Cause::Waited, count: 1, attempts: 2, waits: true, proven: true, blamed: 0 };
        assert_eq!(next(&case), Next::Wait);
        assert_eq!(next(&Case { cause: Cause::Deadline, ..case }), Next::Poison);
        assert_eq!(next(&Case { waits: false, ..case }), Next::Poison);
        assert_eq!(next(&Case { cause: Cause::Host, waits: false, ..case }), Next::Wait);
    }
}
