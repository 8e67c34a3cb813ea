"""Cuts the chart font out of Inter: Latin, Greek and signs only, with figures of equal width as the default ones.

Run with: npm pack inter-ui@4.1.1 && tar xzf inter-ui-4.1.1.tgz && python make.py package   (pip install fonttools brotli)
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

KEEP = [
    *range(0x20, 0x7F), *range(0xA0, 0x180),            # Latin
    *range(0x391, 0x3CA),                               # Greek
    *range(0x2010, 0x2028), 0x2030, 0x2032, 0x2033, 0x2039, 0x203A, 0x20AC,
    *range(0x2070, 0x2072), *range(0x2074, 0x208A),     # superscripts and subscripts
    *range(0x2190, 0x2194), 0x2206, 0x2211, 0x2212, 0x221A, 0x221E, 0x2248, 0x2260, 0x2264, 0x2265, 0x25CF, 0xFFFD,
]


def tabular(font):
    """glyph -> glyph of equal width, from the `tnum` feature."""
    gsub = font["GSUB"].table
    lookups = {i for f in gsub.FeatureList.FeatureRecord if f.FeatureTag == "tnum" for i in f.Feature.LookupListIndex}
    pairs = {}
    for i in lookups:
        for table in gsub.LookupList.Lookup[i].SubTable:
            pairs.update(getattr(table, "ExtSubTable", table).mapping)
    return pairs


for weight in ("Regular", "SemiBold"):
    font = TTFont(Path(sys.argv[1]) / "web" / f"Inter-{weight}.woff2")
    font.flavor = None
    pairs = tabular(font)
    for table in font["cmap"].tables:
        for code in map(ord, "0123456789+\u2212"):
            if code in table.cmap:
                table.cmap[code] = pairs.get(table.cmap[code], table.cmap[code])
    options = subset.Options(layout_features=[], hinting=False, name_IDs=[0, 1, 2, 4, 6, 13, 14], notdef_outline=True)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=KEEP)
    cutter.subset(font)
    out = Path(__file__).with_name(f"Inter-{weight}-chart.ttf")
    font.save(out)
    best = font.getBestCmap()
    widths = {font["hmtx"][best[ord(c)]][0] for c in "0123456789"}
    assert len(widths) == 1, widths
    print(out.name, out.stat().st_size, "bytes", len(best), "characters")
