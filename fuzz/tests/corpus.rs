//! The short run: every input of every corpus as it is, cut short at each position, and with a bit flipped at each position. No luck is
//! involved: what fails here fails again.

use std::fs;

use binferry_fuzz::{Target, check};

/// Positions of one input that are looked at: all of a short one, so many of a long one.
const POSITIONS: usize = 256;

fn replay(target: Target) {
    let folder = target.corpus();
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        println!("{}", path.display());
        check(target, &input);
        let step = input.len().div_ceil(POSITIONS).max(1);
        for at in (0..input.len()).step_by(step) {
            check(target, &input[..at]);
            let mut flipped = input.clone();
            flipped[at] ^= 1 << (at % 8);
            check(target, &flipped);
            flipped[at] = 0xff;
            check(target, &flipped);
        }
        inputs += 1;
    }
    assert!(inputs > 10, "{} holds next to nothing", folder.display());
}

// One test for all: what is allocated is counted for the process.
#[test]
fn every_input_cut_and_flipped() {
    Target::ALL.into_iter().for_each(replay);
}
