//! Answers made a token at a time, taking turns with others on one base.

use crate::golden;
use tb_nn::generate::{Answering, Prefixes, Step};
use tb_nn::{AdapterUse, Decoder, Finish, Flow, GenerationConfig, generate};

const BASE: &str = "llama_tied";
const ADAPTER: &str = "peft_llama/start";

fn config(seed: u64, eos: &[u32]) -> GenerationConfig {
    let eos_token_ids = eos.to_vec();
    GenerationConfig { max_new_tokens: 12, temperature: 1.0, top_p: 0.9, seed, eos_token_ids, ..Default::default() }
}

fn begin(decoder: &Decoder, prompt: &[u32], config: &GenerationConfig) -> Answering {
    let mut none = Prefixes::new(0);
    Answering::begin(decoder, prompt, config.clone(), &mut none.of(0), &mut || Flow::Continue).unwrap().unwrap()
}

fn whole(decoder: &Decoder, prompt: &[u32], config: &GenerationConfig) -> (Vec<u32>, Finish) {
    let answer = generate(decoder, &[prompt.to_vec()], config, &mut |_, _| Flow::Continue).unwrap().remove(0);
    (answer.ids, answer.finish)
}

#[test]
fn answers_on_one_base_take_turns_and_are_those_of_a_model_of_their_own() {
    let (seed, prompts) = (config(3, &[]), [vec![5, 6, 7], vec![8], vec![9, 4]]);
    let bare = golden::decoder(BASE);
    let mut tuned = golden::decoder(BASE);
    tuned.load_adapter(&golden::folder(ADAPTER), AdapterUse::Frozen).unwrap();
    // The middle prompt goes to the base, the others through the adapter.
    let expected =
        [whole(&tuned, &prompts[0], &seed), whole(&bare, &prompts[1], &seed), whole(&tuned, &prompts[2], &seed)];
    assert_ne!(expected[1], whole(&tuned, &prompts[1], &seed), "the golden adapter must do something");

    let mut shared = golden::decoder(BASE);
    let adapter = shared.read_adapter(&golden::folder(ADAPTER)).unwrap();
    assert!(adapter.size_bytes() > 0 && shared.lora().is_none(), "reading puts nothing on");
    let worn = [Some(&adapter), None, Some(&adapter)];
    let mut answers: Vec<Answering> = Vec::new();
    for (prompt, adapter) in prompts.iter().zip(worn) {
        shared.wear(adapter);
        answers.push(begin(&shared, prompt, &seed));
    }
    let mut made: Vec<(Vec<u32>, Option<Finish>)> = vec![(Vec::new(), None); answers.len()];
    while made.iter().any(|(_, finish)| finish.is_none()) {
        for ((answer, (ids, finish)), adapter) in answers.iter_mut().zip(&mut made).zip(worn) {
            shared.wear(adapter);
            match answer.step(&shared).unwrap() {
                Step::Token(id) => ids.push(id),
                Step::End(end) => *finish = Some(end),
            }
        }
    }
    for ((ids, finish), expected) in made.into_iter().zip(expected) {
        assert_eq!((ids, finish.unwrap()), expected);
    }
}

#[test]
fn without_an_adapter_the_base_is_the_one_that_was_loaded() {
    let batch = golden::batch(&golden::tensors("peft_llama"));
    let mut shared = golden::decoder(BASE);
    let before = shared.logits(&batch).unwrap();
    let adapter = shared.read_adapter(&golden::folder(ADAPTER)).unwrap();
    shared.wear(Some(&adapter));
    assert!(golden::max_difference(&shared.logits(&batch).unwrap(), &before) > 0.01);
    shared.wear(None);
    assert!(shared.lora().is_none());
    assert_eq!(golden::max_difference(&shared.logits(&batch).unwrap(), &before), 0.0, "the same bits");
}

#[test]
fn an_end_token_ends_an_answer_and_goes_on_saying_so() {
    let decoder = golden::decoder(BASE);
    let (all, _) = whole(&decoder, &[5, 6, 7], &config(1, &[]));
    let end = all[4];
    let expected = whole(&decoder, &[5, 6, 7], &config(1, &[end]));
    let mut answer = begin(&decoder, &[5, 6, 7], &config(1, &[end]));
    let mut ids = Vec::new();
    while let Step::Token(id) = answer.step(&decoder).unwrap() {
        ids.push(id);
    }
    assert_eq!((ids, Finish::Eos), expected);
    assert_eq!(answer.step(&decoder).unwrap(), Step::End(Finish::Eos));
}

#[test]
fn a_prompt_that_is_no_longer_wanted_is_left_between_two_layers() {
    let decoder = golden::decoder(BASE);
    let mut asked = 0;
    let mut once = || {
        asked += 1;
        if asked > 1 { Flow::Stop } else { Flow::Continue }
    };
    let mut none = Prefixes::new(0);
    assert!(Answering::begin(&decoder, &[5, 6, 7], config(1, &[]), &mut none.of(0), &mut once).unwrap().is_none());
    assert_eq!(asked, 2, "the second layer was not computed");
    let refused = Answering::begin(&decoder, &[], config(1, &[]), &mut none.of(0), &mut || Flow::Continue);
    assert!(refused.err().unwrap().to_string().contains("no tokens"));
}
