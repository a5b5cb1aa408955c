//! What an index takes is measured in a process of its own, which runs the program that asks. Here that is this test, so it has no harness.

use std::error::Error;

use benches::memory;

fn main() -> Result<(), Box<dyn Error>> {
    if memory::is_child(std::env::args())? {
        return Ok(());
    }
    let keys: Vec<u64> =
        (0..1 << 18).map(|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    for (name, most) in [("tagged-radix", 200.0), ("dashmap", 200.0)] {
        let position =
            benches::contender::CANDIDATES.iter().position(|candidate| candidate.name == name);
        let bytes = memory::taken_for(position.ok_or("no such contender")?, 64, &keys)?;
        let each = bytes as f64 / keys.len() as f64;
        println!("{name}: {each:.1} bytes an entry");
        assert!((16.0..most).contains(&each), "a key and a value take 16");
    }
    Ok(())
}
