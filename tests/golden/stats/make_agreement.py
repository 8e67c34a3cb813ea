"""Writes agreement.json: alpha, kappas, t intervals, Welch and Dawid-Skene of reference implementations, for tb-stats.

Run with: python make_agreement.py
(pip install krippendorff==0.9.0 statsmodels==0.15.0 scikit-learn==1.9.1 scipy==1.17.1, and Dawid-Skene without its
dependencies for learning: pip install --no-deps crowd-kit==1.4.2 attrs nltk pyarrow regex click tqdm)
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene, MajorityVote
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

warnings.filterwarnings("ignore")
NAN = float("nan")
LEVELS = ["nominal", "ordinal", "interval"]

# Raters by units. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C: four observers.
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
# The example of the package's documentation.
SPARSE = [
    [NAN, NAN, NAN, NAN, NAN, 3, 4, 1, 2, 1, 1, 3, 3, NAN, 3],
    [1, NAN, 2, 1, 3, 3, 4, 3, NAN, NAN, NAN, NAN, NAN, NAN, NAN],
    [NAN, NAN, 2, 1, 3, 4, 4, NAN, 2, 1, 1, 3, 3, NAN, 4],
]


def ratings(rng, raters, units, values, missing, noise):
    """A table in which raters repeat the unit's truth or err."""
    values = np.asarray(values, dtype=float)
    truth = rng.integers(len(values), size=units)
    table = np.where(rng.random((raters, units)) < noise, rng.integers(len(values), size=(raters, units)), truth)
    table = values[table]
    table[rng.random((raters, units)) < missing] = NAN
    return table


def triples(table):
    table = np.asarray(table, dtype=float)
    return [[int(u), int(r), float(table[r, u])] for r, u in np.argwhere(~np.isnan(table))]


def number(value):
    """None for what has no value."""
    return float(value) if np.isfinite(value) else None


def alpha(table, level):
    try:
        return number(krippendorff.alpha(np.asarray(table, dtype=float), level_of_measurement=level))
    except ValueError:
        return None


def alphas(rng):
    tables = {
        "krippendorff 2011, four observers": KRIPPENDORFF,
        "sparse": SPARSE,
        "full agreement": [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]],
        "full disagreement": [[1, 2, 1, 2, 1], [2, 1, 2, 1, 2]],
        "one pair": [[1, 2, NAN], [3, NAN, NAN]],
        "one pair that agrees": [[1, 2, NAN], [1, NAN, NAN]],
        "one value": [[2, 2, 2], [2, 2, NAN]],
        "no pair": [[1, NAN, 3], [NAN, 2, NAN]],
        "rare second value": [[1.0] * 200, [1.0] * 199 + [2.0]],
        "large offset": (np.asarray(KRIPPENDORFF) + 1e6).tolist(),
        "tiny steps": (np.asarray(KRIPPENDORFF) * 1e-9).tolist(),
        "uneven steps": ratings(rng, 3, 60, [-7.5, -1, 0, 0.25, 100], 0.3, 0.4),
        "many raters": ratings(rng, 40, 25, range(7), 0.5, 0.5),
        "continuous": rng.normal(size=60) + 0.5 * rng.normal(size=(4, 60)),
        "chance": ratings(rng, 2, 300, range(5), 0.0, 1.0),
    }
    for i in range(25):
        raters, units, k = int(rng.integers(2, 7)), int(rng.integers(3, 80)), int(rng.integers(2, 8))
        tables[f"random {i}"] = ratings(rng, raters, units, range(1, k + 1), rng.uniform(0, 0.7), rng.uniform(0.05, 0.9))
    return [{"name": n, "ratings": triples(t), **{level: alpha(t, level) for level in LEVELS}} for n, t in tables.items()]


def cohens(rng):
    def pairs(counts):
        return [(a, b) for a, row in enumerate(counts) for b, n in enumerate(row) for _ in range(n)]

    # Each with the labels of its scale: some are never given.
    tables = {
        "cohen 1960": (pairs([[88, 10, 2], [14, 40, 6], [18, 10, 12]]), 3),
        "two by two": (pairs([[20, 5], [10, 15]]), 2),
        "paradox of high agreement": (pairs([[118, 5], [2, 0]]), 2),
        "full agreement": (pairs([[3, 0], [0, 4]]), 2),
        "one value each": (pairs([[0, 9], [0, 0]]), 2),
        "one value": (pairs([[5]]), 1),
        "a value that nobody gave": (pairs([[4, 0, 0, 1], [1, 3, 0, 2], [0, 0, 0, 0], [0, 1, 0, 6]]), 4),
    }
    for i in range(20):
        k, n = int(rng.integers(2, 8)), int(rng.integers(4, 120))
        table = ratings(rng, 2, n, range(k), 0.0, rng.uniform(0.1, 1)).astype(int)
        tables[f"random {i}"] = (list(zip(*table.tolist())), k)
    rows = []
    for name, (pairs, k) in tables.items():
        first, second = [int(a) for a, _ in pairs], [int(b) for _, b in pairs]
        score = lambda weights: number(cohen_kappa_score(first, second, labels=list(range(k)), weights=weights))
        counts = np.zeros((k, k))
        np.add.at(counts, (first, second), 1)
        row = {"name": name, "pairs": [list(p) for p in zip(first, second)], "unweighted": score(None),
               "linear": score("linear"), "quadratic": score("quadratic")}
        peers = {"unweighted": None, "linear": "linear", "quadratic": "quadratic"}
        for key, weights in peers.items():
            if row[key] is not None:
                assert abs(cohens_kappa(counts, wt=weights, return_results=False) - row[key]) < 1e-12
        rows.append(row)
    return rows


def fleisses(rng):
    # Fleiss 1971 in the form known from textbooks: 10 subjects, 14 raters, 5 categories; kappa 0.210.
    textbook = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]
    tables = {"textbook": textbook, "full agreement": [[3, 0], [0, 3]], "full disagreement": [[1, 1]] * 5,
              "one value": [[4, 0], [4, 0]]}
    for i in range(15):
        n, k, m = int(rng.integers(2, 60)), int(rng.integers(2, 7)), int(rng.integers(2, 9))
        shares = rng.dirichlet(np.full(k, rng.uniform(0.2, 3)), size=n)
        tables[f"random {i}"] = [rng.multinomial(m, p).tolist() for p in shares]
    return [{"name": n, "counts": t, "kappa": number(fleiss_kappa(np.asarray(t)))} for n, t in tables.items()]


def students():
    dfs = [1, 1.5, 2, 3, 4.75, 10, 29, 30, 99.5, 1000, 12345.6, 1e6, 5e7]
    shares = [1e-10, 1e-4, 0.005, 0.025, 0.2, 0.45, 0.6, 0.9, 0.975, 0.9995]
    # Not nearer to 0 than 0.01: scipy's tail of t = 1e-6 is off in the 11th digit for one degree of freedom.
    return {
        "quantiles": [[p, df, float(stats.t.ppf(p, df))] for df in dfs for p in shares],
        "two_sided": [[t, df, float(2 * stats.t.sf(t, df))] for df in dfs for t in [0.01, 0.3, 1, 1.96, 2.5, 4, 9, 40]],
    }


def moments(values):
    return [len(values), float(np.sum(values)), float(np.sum(values * values))]


def means(rng):
    samples = {
        "two values": np.array([1.0, 2.0]),
        "ten": rng.normal(3, 2, 10),
        "shares": (rng.random(400) < 0.3).astype(float),
        "ratings": rng.integers(1, 6, 5000).astype(float),
        "a million": rng.gamma(2.0, 3.0, 1_000_000),
        "below zero": rng.normal(-0.5, 0.1, 37),
    }
    single = []
    for name, x in samples.items():
        for confidence in [0.5, 0.8, 0.95, 0.999]:
            low, high = stats.t.interval(confidence, len(x) - 1, loc=np.mean(x), scale=stats.sem(x))
            single.append({"name": name, "moments": moments(x), "confidence": confidence,
                           "mean": float(np.mean(x)), "low": float(low), "high": float(high)})
    pairs = [("two values", "ten"), ("shares", "ratings"), ("ten", "below zero"), ("a million", "ratings"), ("ten", "ten")]
    differences = []
    for control, treatment in pairs:
        for confidence in [0.8, 0.95]:
            got = stats.ttest_ind(samples[treatment], samples[control], equal_var=False)
            interval = got.confidence_interval(confidence)
            differences.append({
                "name": f"{treatment} - {control}", "control": moments(samples[control]),
                "treatment": moments(samples[treatment]), "confidence": confidence, "df": float(got.df),
                "p_value": float(got.pvalue), "low": float(interval.low), "high": float(interval.high)})
    return single, differences


def dawid_skene(table, right, wrong, rounds):
    """The steps of crowd-kit's DawidSkene, its prior counts ("addition") in every round and not only the first."""
    data = pd.DataFrame(triples(table), columns=["task", "worker", "label"])
    labels, workers = sorted(data.label.unique()), sorted(data.worker.unique())
    index = pd.MultiIndex.from_product([workers, labels], names=["worker", "label"])
    prior = pd.DataFrame([[right if seen == truth else wrong / (len(labels) - 1) for truth in labels]
                          for _ in workers for seen in labels], index=index, columns=labels, dtype=float)
    model = DawidSkene()
    posteriors = MajorityVote().fit_predict_proba(data)
    maximise = lambda: (posteriors.mean(), model._m_step(data, posteriors, prior, "addition"))
    prevalence, errors = maximise()
    for _ in range(rounds):
        posteriors = model._e_step(data, prevalence, errors)
        prevalence, errors = maximise()
    posteriors = posteriors.sort_index()[labels]
    confusions = [[[float(errors.loc[(w, seen), truth]) for seen in labels] for truth in labels] for w in workers]
    accuracies = [float(sum(prevalence[t] * errors.loc[(w, t), t] for t in labels)) for w in workers]
    return {"ratings": triples(table), "right": right, "wrong": wrong, "rounds": rounds,
            "prevalence": [float(prevalence[t]) for t in labels], "posteriors": posteriors.to_numpy().tolist(),
            "confusions": confusions, "accuracies": accuracies}


def truths(rng):
    rows = [{"name": "krippendorff's observers", **dawid_skene(KRIPPENDORFF, 2.0, 1.0, 40)}]
    for i in range(5):
        raters, units, k = int(rng.integers(3, 7)), int(rng.integers(20, 60)), int(rng.integers(2, 5))
        table = ratings(rng, raters, units, range(k), rng.uniform(0, 0.4), 0.3)
        rows.append({"name": f"random {i}", **dawid_skene(table, rng.uniform(0.5, 4), rng.uniform(0.2, 2), 25)})
    return rows


def main():
    rng = np.random.default_rng(20240602)
    packages = ["krippendorff", "statsmodels", "scikit-learn", "scipy", "numpy", "pandas", "crowd-kit"]
    single, differences = means(rng)
    golden = {
        "made_by": {name: version(name) for name in packages},
        "alpha": alphas(rng),
        "cohen": cohens(rng),
        "fleiss": fleisses(rng),
        "student_t": students(),
        "means": single,
        "differences": differences,
        "dawid_skene": truths(rng),
    }
    path = Path(__file__).with_name("agreement.json")
    lines = ["{"]
    for key, value in golden.items():
        end = "" if key == "dawid_skene" else ","
        if isinstance(value, list):
            rows = ",\n".join("  " + json.dumps(row, allow_nan=False) for row in value)
            lines.append(f' "{key}": [\n{rows}\n ]{end}')
        else:
            lines.append(f' "{key}": {json.dumps(value, allow_nan=False)}{end}')
    path.write_text("\n".join(lines + ["}"]) + "\n", encoding="utf-8")
    print(f"{path.name}: {golden['made_by']}")


main()
