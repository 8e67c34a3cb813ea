//! Draws loss charts of made-up runs into a folder: `cargo run -p tb-report --example charts -- FOLDER`.

use std::path::PathBuf;

use tb_report::{LossChart, Smoothing, Theme, YScale, loss_chart};

/// Noise in [-1, 1) from a counter.
fn noise(i: u64) -> f64 {
    let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn run(steps: u32, every: u32, start: f64, end: f64) -> Vec<(f64, f64)> {
    (1..=steps / every)
        .map(|i| {
            let step = f64::from(i * every);
            let fall = (start - end) * (-5.0 * step / f64::from(steps)).exp();
            (step, (end + fall) * (1.0 + 0.18 * noise(u64::from(i)) + 0.1 * noise(u64::from(i) + 9_000_000)))
        })
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    std::fs::create_dir_all(&folder)?;
    let train = run(1500, 5, 3.9, 0.12);
    let eval: Vec<(f64, f64)> = (0..=10)
        .map(|i| {
            let x = f64::from(i) / 10.0;
            (
                150.0 * f64::from(i).max(0.02),
                0.21 + 3.6 * (-5.0 * x).exp() + 0.05 * (x - 0.6).max(0.0) + 0.01 * noise(i as u64),
            )
        })
        .collect();
    let mut broken = run(120_000, 10, 2.9, 2.2);
    broken.retain(|(step, _)| !(52_000.0..61_000.0).contains(step));
    let late: Vec<(f64, f64)> =
        (1..=60).map(|i| (f64::from(i) * 2000.0, 2.25 + 0.7 * (-f64::from(i) / 12.0).exp())).collect();
    let close: Vec<(f64, f64)> = train.iter().step_by(30).map(|(x, y)| (*x, y * 1.01)).collect();

    let sample = LossChart {
        title: "LoRA on the tone sample",
        subtitle: "base 3.8M · r=16, all linear layers · 6,000 rows, English and Japanese · batch 12, lr 3e-3 · seed 7",
        train: &train,
        eval: &eval,
        ..LossChart::default()
    };
    let long = LossChart {
        title: "Long run with a gap",
        subtitle: "loss far from zero",
        train: &broken,
        eval: &late,
        ..LossChart::default()
    };
    for (name, chart) in [
        ("light", sample.clone()),
        ("dark", LossChart { theme: Theme::Dark, ..sample.clone() }),
        ("log", LossChart { y_scale: YScale::Log, ..sample.clone() }),
        ("close", LossChart { eval: &close, subtitle: "", title: "損失 run 12", ..sample.clone() }),
        ("gap", long.clone()),
        ("gap-dark", LossChart { theme: Theme::Dark, ..long }),
        (
            "short",
            LossChart {
                train: &train[..3],
                eval: &[],
                smoothing: Smoothing::Off,
                title: "Three steps",
                ..sample.clone()
            },
        ),
    ] {
        loss_chart(&chart, &folder.join(format!("{name}.png")), &folder.join(format!("{name}.svg")))?;
    }
    Ok(())
}
