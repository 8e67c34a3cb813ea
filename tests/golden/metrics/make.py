"""Writes metrics.json: chrF, BLEU and ROUGE values of sacrebleu and rouge-score for tb-stats' tests.

Run with: python make.py   (pip install sacrebleu==2.6.0 rouge-score==0.1.2)
"""

import json
import logging
import random
from importlib.metadata import version
from pathlib import Path

from rouge_score import rouge_scorer, tokenizers
from sacrebleu.metrics import BLEU, CHRF

logging.disable(logging.WARNING)


class Characters(tokenizers.Tokenizer):
    """Every character that is not whitespace, case kept."""

    def tokenize(self, text):
        return [c for c in text if not c.isspace()]


ENGLISH = [
    ("Could you please send me the report by Friday?", "Could you please send the report to me by Friday?"),
    ("I would appreciate it if you could review the draft.", "I would appreciate your review of the draft."),
    ("gimme the numbers asap", "Could you please share the figures as soon as possible?"),
    ("It's $1,234.50 (incl. tax), \"final\" price: 10-20% off.", "It is $1,234.50 (including tax); the \"final\" price is 10-20 % off."),
    ("wait-and-see -- that's 3.5 vs. 4,0; e.g. 5. And 6, too.", "wait-and-see - that is 3.5 vs 4,0, e.g. 5. And 6 too."),
    ("Thanks!", "Thanks!"),
    ("OK", "OK."),
    ("a a a a a a", "a a"),
    ("the the the cat cat sat sat", "the cat sat on the mat"),
    ("Fish &amp; chips &lt;now&gt; &quot;hot&quot;", "Fish & chips <now> \"hot\""),
    ("one <skipped> two-\nthree\nfour", "one two three four"),
    ("[a]{b}~^_`\\|@#%&*+/=<>;:!?'", "[a] {b} ~ ^ _ ` \\ | @ # % & * + / = < > ; : ! ? '"),
    ("..,,1.2,,3.a.,", ". . , , 1.2 , , 3 . a . ,"),
    ("1-2-3 4- -5 6--7", "1 - 2 - 3 4 - - 5 6 - - 7"),
    ("Totally different words here now", "nothing shared at all between them"),
    ("x y z w v", "x b c d e f g h i j k l m n o p"),
]
JAPANESE = [
    ("お世話になっております。資料をお送りいただけますでしょうか。", "お世話になっております。資料をお送りいただけますと幸いです。"),
    ("明日15時に会議室Bでお待ちしております。", "明日の15時に、会議室Bにてお待ちしております。"),
    ("了解", "承知いたしました。"),
    ("承知いたしました。", "承知いたしました。"),
    ("田中様、\u3000請求書（第３号）を確認いたしました。", "田中様、請求書（第3号）を確認いたしました。"),
    ("はいはいはいはい", "はい"),
    ("ABC商事のSmith様より、¥1,000のご請求です。", "ABC商事のスミス様から1,000円のご請求がございます。"),
    ("ｶﾀｶﾅとカタカナ", "カタカナとｶﾀｶﾅ"),
]
EDGE = [
    ("", ""), ("", "something"), ("something", ""), ("   ", "something"), ("something", " \t\n\u3000"),
    ("a", "a"), ("a", "b"), ("ab", "abcdefgh"), ("abcdefgh", "ab"), ("。", "。"), (".", "."),
    ("\U0001f600\U0001f601 naïve café ÀÉÎ", "\U0001f600\U0001f602 naive cafe\u0301 ÀÉÎ"),
    ("Ελληνικά ΣΊΣΥΦΟΣ İstanbul \u212aelvin", "ελληνικά σίσυφος istanbul Kelvin"),
    ("tab\tand\u00a0nbsp\u2003em\u1680ogham\u001cfs", "tab and nbsp em ogham fs"),
    ("zero\u200bwidth \u200djoiner \ufeffbom", "zerowidth joiner bom"),
    ("שלום עולם", "שלום, עולם!"), ("안녕하세요 세계", "안녕 세계"),
    ("trailing spaces   \n\n", "trailing spaces"), ("-\n", "-"), ("line-\n", "line-"),
    ("same same same same same", "same same same same same"),
]


def long_texts(rng):
    """Long texts, Latin and Japanese, with repetitions and edits."""
    words = "the a report send please could you by friday invoice and we will review it soon , . 12 3.5 (draft)".split()
    kana = "資料を送付いたしますのでご確認くださいませ。、1２A"
    pairs = []
    for _ in range(3):
        target = [rng.choice(words) for _ in range(400)]
        output = [w if rng.random() < 0.8 else rng.choice(words) for w in target if rng.random() < 0.95]
        pairs.append((" ".join(output), " ".join(target)))
        target = [rng.choice(kana) for _ in range(600)]
        output = [c if rng.random() < 0.8 else rng.choice(kana) for c in target if rng.random() < 0.95]
        pairs.append(("".join(output), "".join(target)))
    return pairs


def random_texts(rng, count):
    """Short texts over an alphabet that provokes every tokenizer rule."""
    alphabet = "ab1 2.,-.,- \n$&;'\"あ漢。、é"
    text = lambda: "".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 24)))
    return [(text(), text()) for _ in range(count)]


def scores(pairs):
    hyps, refs = [h for h, _ in pairs], [[r for _, r in pairs]]
    return {
        "chrf": CHRF().corpus_score(hyps, refs).score,
        "bleu_13a": BLEU().corpus_score(hyps, refs).score,
        "bleu_char": BLEU(tokenize="char").corpus_score(hyps, refs).score,
    }


def main():
    rng = random.Random(20240601)
    groups = {
        "english": ENGLISH,
        "japanese": JAPANESE,
        "edge": EDGE,
        "long": long_texts(rng),
        "random": random_texts(rng, 80),
    }
    groups["all"] = [pair for pairs in groups.values() for pair in pairs]
    groups["all_empty_outputs"] = [("", r) for _, r in ENGLISH]

    kinds = ["rouge1", "rouge2", "rougeL"]
    by_words = rouge_scorer.RougeScorer(kinds)
    by_chars = rouge_scorer.RougeScorer(kinds, tokenizer=Characters())
    bleu_13a, bleu_char, chrf = BLEU(effective_order=True), BLEU(tokenize="char", effective_order=True), CHRF()
    rows = []
    for output, target in groups["all"]:
        rouge = lambda scorer: [list(map(float, s)) for s in map(scorer.score(target, output).get, kinds)]
        rows.append({
            "output": output,
            "target": target,
            "chrf": chrf.sentence_score(output, [target]).score,
            "bleu_13a": bleu_13a.sentence_score(output, [target]).score,
            "bleu_char": bleu_char.sentence_score(output, [target]).score,
            "rouge_words": rouge(by_words),
            "rouge_chars": rouge(by_chars),
        })
    golden = {
        "made_by": {name: version(name) for name in ("sacrebleu", "rouge-score")},
        "rouge_order": "[rouge1, rouge2, rougeL] each [precision, recall, f1]",
        "sentences": rows,
        "corpora": [{"name": n, "pairs": [list(p) for p in pairs], **scores(pairs)}
                    for n, pairs in groups.items() if n != "all"]
                   + [{"name": "all", "pairs": None, **scores(groups["all"])}],
    }
    path = Path(__file__).with_name("metrics.json")
    path.write_text(json.dumps(golden, ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(rows)} sentences, {len(golden['corpora'])} corpora")


main()
