//! The commands of one operation, and what became of each.

use chat_core::error::Error;
use redis::{RedisError, Value};

use super::dial::Answers;
use super::line::{Down, Line, Live};
use super::{Access, Command, Operation};
use crate::error::{Failure, Remedy, error, may_have_happened, remedy};

/// The commands of one operation and what became of them.
pub(super) struct Work {
    commands: Vec<Command>,
    answers: Vec<Answer>,
    /// Whether anything may have happened.
    begun: bool,
    /// Whether all of it happens at once or not at all, so that it is sent again as a whole.
    transaction: bool,
}

enum Answer {
    Open,
    Good(Value),
    Bad(RedisError),
    Silent,
}

pub(super) enum Step {
    Done,
    Fail,
    Again { wait: bool },
}

impl Work {
    pub(super) fn new(commands: Vec<Command>) -> Self {
        let answers = commands.iter().map(|_| Answer::Open).collect();
        Self { commands, answers, begun: false, transaction: false }
    }

    /// Commands of one transaction. A script goes as its source: one that the server does not know would fail alone.
    pub(super) fn transaction(mut commands: Vec<Command>) -> Self {
        for command in &mut commands {
            command.send_source();
        }
        Self { transaction: true, ..Self::new(commands) }
    }

    pub(super) fn is_transaction(&self) -> bool {
        self.transaction
    }

    /// One command that was answered with an error.
    pub(super) fn refused(command: Command, error: RedisError) -> Self {
        let begun = may_have_happened(&error, command.is_script());
        Self { begun, answers: vec![Answer::Bad(error)], ..Self::new(vec![command]) }
    }

    /// One command that was not answered.
    pub(super) fn unanswered(command: Command) -> Self {
        Self { begun: true, answers: vec![Answer::Silent], ..Self::new(vec![command]) }
    }

    /// The commands that have no good answer yet.
    pub(super) fn open(&self) -> Vec<&Command> {
        let open = self.commands.iter().zip(&self.answers);
        open.filter(|(_, answer)| !matches!(answer, Answer::Good(_))).map(|(command, _)| command).collect()
    }

    /// Takes the answers to all that was open; whether the server said anything.
    pub(super) fn take(&mut self, new: Answers) -> bool {
        let (error, torn) = match new {
            Answers::Each(new) => return self.take_each(new),
            Answers::Refused(error) => (error, false),
            Answers::Torn(error) => (error, true),
        };
        self.begun |= torn || may_have_happened(&error, false);
        let heard = remedy(&error) != Remedy::Lost;
        self.answers.fill_with(|| Answer::Bad(error.clone()));
        heard
    }

    fn take_each(&mut self, new: Vec<Result<Value, RedisError>>) -> bool {
        let mut heard = false;
        let open = self.commands.iter().zip(&mut self.answers);
        let open = open.filter(|(_, answer)| !matches!(answer, Answer::Good(_)));
        for ((command, answer), new) in open.zip(new) {
            *answer = match new {
                Ok(value) => {
                    (heard, self.begun) = (true, true);
                    Answer::Good(value)
                }
                Err(error) => {
                    self.begun |= may_have_happened(&error, command.is_script());
                    heard |= remedy(&error) != Remedy::Lost;
                    Answer::Bad(error)
                }
            };
        }
        if self.transaction && self.answers.iter().any(|answer| !matches!(answer, Answer::Good(_))) {
            for answer in self.answers.iter_mut().filter(|answer| matches!(answer, Answer::Good(_))) {
                *answer = Answer::Open;
            }
        }
        heard
    }

    /// No answer came.
    pub(super) fn silent(&mut self) {
        self.begun = true;
        for answer in self.answers.iter_mut().filter(|answer| !matches!(answer, Answer::Good(_))) {
            *answer = Answer::Silent;
        }
    }

    /// Looks at every command that has no good answer, and prepares to send it again if that may help.
    pub(super) fn next_step(&mut self, operation: Operation, line: &Line, live: &Live) -> Step {
        let (mut done, mut wait, mut hopeless) = (true, false, false);
        for (command, answer) in self.commands.iter_mut().zip(&self.answers) {
            match answer {
                Answer::Good(_) => continue,
                Answer::Open | Answer::Silent => {}
                Answer::Bad(error) => match remedy(error) {
                    Remedy::SendSource if command.send_source() => {}
                    Remedy::SendSource | Remedy::None => hopeless = true,
                    Remedy::Wait => wait = true,
                    // On its own, a node of a cluster stays the wrong one.
                    Remedy::Elsewhere if !live.connection().is_cluster() => hopeless = true,
                    Remedy::Redial | Remedy::Lost | Remedy::Elsewhere => {
                        wait = true;
                        line.broken(live);
                    }
                },
            }
            done = false;
        }
        let spent = self.begun && operation.access == Access::Once;
        match (done, hopeless || spent) {
            (true, _) => Step::Done,
            (false, true) => Step::Fail,
            (false, false) => Step::Again { wait },
        }
    }

    pub(super) fn failed(&self, operation: Operation, down: &Down) -> Error {
        let lasting = |answer: &&Answer| matches!(answer, Answer::Bad(e) if remedy(e) == Remedy::None);
        let any = |answer: &&Answer| matches!(answer, Answer::Bad(_) | Answer::Silent);
        let last = self.answers.iter().find(lasting).or_else(|| self.answers.iter().find(any));
        let failure = match last {
            Some(Answer::Bad(said)) => Failure::Said(said),
            Some(Answer::Silent) => Failure::Silent,
            _ => Failure::Down(down),
        };
        error(operation, &failure, self.begun)
    }

    pub(super) fn into_answers(self) -> Vec<Value> {
        let good = |answer| if let Answer::Good(value) = answer { Some(value) } else { None };
        self.answers.into_iter().filter_map(good).collect()
    }
}
