//! The kit finds what it is meant to find: every known bug, planted into the memory backend, is killed by the check
//! that is named for it, and that check passes without the bug.

#![allow(clippy::panic, reason = "a trial fails by panicking")]

use std::collections::BTreeSet;
use std::process::ExitCode;

use chat_testkit::mutants::{self, Mutant};
use chat_testkit::{Check, Offer, Verdict, checks, prove};
use libtest_mimic::{Arguments, Failed, Trial};

/// How many known bugs the kit has to find at least.
const AT_LEAST: usize = 20;
/// A planted bug shows early; the memory backend itself is played far more histories elsewhere.
const HISTORIES: usize = 500;

fn main() -> ExitCode {
    // Most trials end in a panic, as they should.
    std::panic::set_hook(Box::new(|_| {}));
    let known =
        mutants::all().map(|mutant| Trial::test(format!("killed::{}", mutant.name), move || killed(&mutant)));
    let counted = Trial::test("there_are_enough_and_each_has_a_name_of_its_own", enough);
    libtest_mimic::run(&Arguments::from_args(), known.chain([counted]).collect()).exit_code()
}

fn killed(mutant: &Mutant) -> Result<(), Failed> {
    let check = find(mutant)?;
    let sound = prove(&check, |_namespace| async { Ok(Offer::memory().histories(HISTORIES)) });
    if sound != Verdict::Kept {
        return Err(format!("{} does not pass without the bug: {sound:?}", check.name).into());
    }
    let apply = mutant.apply;
    let bugged =
        prove(&check, move |_namespace| async move { Ok(apply(Offer::memory().histories(HISTORIES))) });
    match bugged {
        Verdict::Broken(_) => Ok(()),
        survived => Err(format!("{} lets it live: {survived:?}", check.name).into()),
    }
}

fn find(mutant: &Mutant) -> Result<Check, Failed> {
    checks::all()
        .find(|check| check.name == mutant.killed_by)
        .ok_or_else(|| format!("there is no check named {}", mutant.killed_by).into())
}

fn enough() -> Result<(), Failed> {
    let names: BTreeSet<_> = mutants::all().map(|mutant| mutant.name).collect();
    let all = mutants::all().count();
    if all < AT_LEAST || names.len() < all {
        return Err(format!("{all} mutants with {} names", names.len()).into());
    }
    Ok(())
}
