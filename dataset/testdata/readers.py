"""Reads a dataset file with every Arrow reader that is installed and compares its rows with the listing on standard input."""
import json
import sys

import pyarrow as pa

path, want = sys.argv[1], sys.stdin.read()


def listing(rows):
    out = []
    for r in rows:
        image = bytes(r["image"])
        label = -1 if r["label"] is None or r["label"] != r["label"] else int(r["label"])
        mask = r["mask"]
        labels = "[" + " ".join(str(int(v)) for v in r["labels"]) + "]"
        out.append(
            f'{r["id"]}|{image.hex()}|{r["height"]}|{r["width"]}|{label}|{labels}|{len(r["boxes"])}|{len(r["polygons"])}|'
            f'{(mask or b"").hex()}|{"true" if mask is not None else "false"}|{r["split"]}|{len(r["meta"])}'
        )
        for b in r["boxes"]:
            out.append(f' box {b["x0"]:.2f} {b["y0"]:.2f} {b["x1"]:.2f} {b["y1"]:.2f} {b["class"]}')
        for p in r["polygons"]:
            out.append(f' polygon {p["class"]} {len(p["rings"])} {p["rings"][1][-2]:.2f}')
        for m in r["meta"]:
            out.append(f' meta {m["name"]}={m["value"]}')
    return "".join(line + "\n" for line in out)


def check(name, rows):
    got = listing(rows)
    if got != want:
        sys.exit(f"{name} reads\n{got}\nnot\n{want}")
    print(name, end=" ")


table = pa.ipc.open_file(pa.memory_map(path)).read_all()
table.validate(full=True)
meta = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
assert json.loads(meta["darkroom.classes"]) == ["cell", "düst"] and meta["darkroom.task"] == "detection", meta
check("pyarrow", table.to_pylist())

try:
    import pandas
except ImportError:
    pass
else:
    check("pandas", (dict(r) for _, r in pandas.read_feather(path).iterrows()))
try:
    import polars
except ImportError:
    pass
else:
    check("polars", polars.read_ipc(path).to_dicts())
try:
    import duckdb
except ImportError:
    pass
else:
    cursor = duckdb.from_arrow(table)
    names = cursor.columns
    check("duckdb", (dict(zip(names, row)) for row in cursor.fetchall()))
try:
    import datasets
except ImportError:
    pass
else:
    check("datasets", datasets.Dataset(table))
