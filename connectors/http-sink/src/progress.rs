//! How far a batch has got: what of it is still to be sent, and what the service has refused.
//!
//! Pure. Invariants: requests go out in the order of the records, those of a batch that comes again with the
//! same bounds as before; a record is to be sent, delivered or refused, and one of them only.

use std::collections::VecDeque;
use std::ops::Range;

/// So many records that are refused alike, and none that is taken, are not at fault.
const RECORDS_SUSPICIOUS: usize = 8;

/// A record that the service says no to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which of the pieces it is.
    pub(crate) piece: usize,
    pub(crate) status: u16,
    pub(crate) reason: String,
}

#[derive(Debug, Default)]
pub(crate) struct Progress {
    now: Group,
    later: VecDeque<Vec<Range<usize>>>,
    rejected: Vec<Refused>,
}

/// Requests whose answers are seen together.
#[derive(Debug, Default)]
struct Group {
    requests: Vec<Range<usize>>,
    /// The next one is the last.
    todo: Vec<Range<usize>>,
    accepted: bool,
    refused: Vec<Refused>,
}

impl Group {
    fn of(requests: Vec<Range<usize>>) -> Self {
        let todo = requests.iter().rev().cloned().collect();
        Group { requests, todo, ..Group::default() }
    }

    fn is_suspicious(&self) -> bool {
        let alike = self.refused.windows(2).all(|pair| pair[0].status == pair[1].status);
        self.todo.is_empty() && !self.accepted && alike && self.refused.len() >= RECORDS_SUSPICIOUS
    }
}

impl Progress {
    /// Requests in order. Each is seen by itself, but records that go one by one are seen together.
    pub(crate) fn of(requests: Vec<Range<usize>>) -> Self {
        let later = match requests.iter().all(|request| request.len() == 1) {
            true => VecDeque::from([requests]),
            false => requests.into_iter().map(|request| vec![request]).collect(),
        };
        Progress { later, ..Progress::default() }
    }

    /// What is to be sent next.
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        while self.now.todo.is_empty() {
            self.rejected.append(&mut self.now.refused);
            self.now = Group::of(self.later.pop_front()?);
        }
        self.now.todo.last().cloned()
    }

    /// It has arrived.
    pub(crate) fn delivered(&mut self) {
        self.now.todo.pop();
        self.now.accepted = true;
    }

    /// The service refuses it: its halves are sent, until it is known which records are meant.
    pub(crate) fn refused(&mut self, status: u16, reason: String) {
        match self.now.todo.pop() {
            Some(request) if request.len() > 1 => {
                let middle = request.start + request.len() / 2;
                self.now.todo.extend([middle..request.end, request.start..middle]);
            }
            Some(request) => self.now.refused.push(Refused { piece: request.start, status, reason }),
            None => {}
        }
    }

    /// Where the service has refused all, and all alike, none of it counts: one of them, and how many.
    pub(crate) fn take_back(&mut self) -> Option<(Refused, usize)> {
        if !self.now.is_suspicious() {
            return None;
        }
        let refused = std::mem::take(&mut self.now.refused);
        self.now = Group::of(std::mem::take(&mut self.now.requests));
        let count = refused.len();
        refused.into_iter().next().map(|first| (first, count))
    }

    /// How many records are still to be sent.
    pub(crate) fn left(&self) -> usize {
        self.now.todo.iter().chain(self.later.iter().flatten()).map(ExactSizeIterator::len).sum()
    }

    /// When there is nothing more to send.
    pub(crate) fn into_rejected(self) -> Vec<Refused> {
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of so many records each.
    fn requests(sizes: &[usize]) -> Vec<Range<usize>> {
        let ends = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end - size..*end)
        });
        ends.collect()
    }

    /// Sends all to a service that refuses `bad`; the requests, and the records that are rejected.
    fn play(sizes: &[usize], bad: &[usize]) -> (Vec<Range<usize>>, Result<Vec<usize>, usize>) {
        let mut progress = Progress::of(requests(sizes));
        let mut sent = Vec::new();
        while let Some(request) = progress.next() {
            sent.push(request.clone());
            match request.clone().any(|piece| bad.contains(&piece)) {
                true => progress.refused(422, "no".to_owned()),
                false => progress.delivered(),
            }
            if let Some((_, count)) = progress.take_back() {
                return (sent, Err(count));
            }
        }
        (sent, Ok(progress.into_rejected().into_iter().map(|refused| refused.piece).collect()))
    }

    #[test]
    fn what_is_refused_is_found_by_halves_in_the_order_of_the_records() {
        let (sent, rejected) = play(&[4, 2], &[1]);
        assert_eq!((sent, rejected), (vec![0..4, 0..2, 0..1, 1..2, 2..4, 4..6], Ok(vec![1])));
        let all: Vec<usize> = (0..7).collect();
        assert_eq!(play(&[7], &all).1, Ok(all));
        assert_eq!(play(&[], &[]), (vec![], Ok(vec![])));
    }

    #[test]
    fn a_service_that_refuses_all_of_a_request_is_not_believed() {
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(play(&[8, 8], &all), (play(&[8], &all).0, Err(8)));
        assert_eq!(play(&[8, 8], &all[8..]).1, Err(8));
        assert_eq!(play(&[8], &all[1..]).1, Ok((1..8).collect()));
        // One by one, a few at a time.
        assert_eq!(play(&[1; 8], &all).1, Err(8));
        assert_eq!(play(&[1; 8], &all[1..]).1, Ok((1..8).collect()));
    }

    #[test]
    fn what_is_taken_back_is_sent_again_as_before() {
        let mut progress = Progress::of(requests(&[1, 8]));
        assert_eq!(progress.next(), Some(0..1));
        progress.delivered();
        while progress.take_back().is_none() {
            assert!(progress.next().is_some());
            progress.refused(400, String::new());
        }
        assert_eq!((progress.next(), progress.left()), (Some(1..9), 8));
        progress.delivered();
        assert_eq!((progress.next(), progress.into_rejected()), (None, vec![]));
    }
}
