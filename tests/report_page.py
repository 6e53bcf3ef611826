"""Runs for the tests of the page: two settings over three seeds, and copies of them that are hostile."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from made_runs import change, make_run
from yaml import safe_dump, safe_load

from affect.config import Config

WORDS = ("prompting.transcript.en='{text} A'", "prompting.transcript.en='{text} B'")

ATTACKS = (
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 2</script>",
    "<img src=x onerror='window.pwned = 3'>",
    "<svg onload='window.pwned = 4'>",
    "javascript:window.pwned=5//",
    "\"><iframe srcdoc='<script>parent.pwned = 6</script>'>",
    "{{ 7 * 7 }} ${window.pwned = 7} %{x}",
    "<style>* { display: none }</style>",
    "<a href='javascript:pwned=8'>a</a><b>b</b>",
    "\u202egpj.exe\u2066 \u200b\ufeff",
    "\x1b[31m\x1b]0;title\x07 \x00",
    "\ud800 lone surrogate",
    "=HYPERLINK(1) &lt;b&gt; &amp; <!-- <script>",
    "$\\unicode{41}$ <br>" + "A" * 1_000_000,
    "__proto__",
)
"""Texts that would do harm in a page that took one of them for more than text."""


def make_runs(configure: Callable[..., Config], out: Path) -> Path:
    """Runs 1 to 3 with one prompt, and 4 to 6 with another that is better, in `out`."""
    for number in range(6):
        setting, seed = divmod(number, 3)
        words = [WORDS[setting], f"seed={seed + 1}"]
        run = make_run(configure, out, f"run{number + 1}", *words, num=40, groups=12, correct=20 + 9 * setting + seed)
        lines = [
            "epoch,step,train/loss,val/selection",
            *(f"0,{step},{1 / (step + 1)}," for step in range(5)),
            "0,4,,0.5",
        ]
        (run / "log").mkdir(exist_ok=True)
        (run / "log" / "metrics.csv").write_text("\n".join(lines) + "\n")
    return out


def make_hostile(run: Path, folder: Path) -> Path:
    """A copy of `run` that says something hostile wherever a run may say something."""
    shutil.copytree(run, folder)
    everything = " ".join(attack for attack in ATTACKS if len(attack) < 1000 and "\ud800" not in attack)
    config = safe_load((folder / "config.yaml").read_text())
    config["model"]["name"] = everything
    config["prompting"]["transcript"]["en"] = "{text} " + everything.replace("{{", "").replace("}}", "")
    config["output_root"] = ATTACKS[2]
    text = safe_dump(config)
    (folder / "config.yaml").write_text(text)
    copy = {"config_yaml_sha256": hashlib.sha256(text.encode()).hexdigest(), "config": config}
    (folder / "config.json").write_text(json.dumps(copy))
    of_environment = {"command": list(ATTACKS), "platform": ATTACKS[1], ATTACKS[0]: ATTACKS[0]}
    change(folder / "environment.json", lambda environment: environment | of_environment)
    change(folder / "status.json", lambda status: status | {"error": ATTACKS[0], "where": ATTACKS[2]})
    (folder / "exclusions.csv").write_text(
        "id,split,reason,source,count\n"
        + "".join(
            f'"{a.replace(chr(34), chr(34) * 2)}",x,y,z,1\n' for a in ATTACKS if "\x00" not in a and "\ud800" not in a
        )
    )
    log = "\n".join(ATTACKS).encode("utf-8", "surrogatepass") + b"\n\xff\xfe not utf-8\n"
    (folder / "log" / "run.log").write_bytes(log)
    (folder / "log" / "metrics.csv").write_text(f'epoch,step,"{ATTACKS[8]}"\n0,0,0.5\n0,1,nan\n')
    metrics = json.loads((folder / "metrics.json").read_text())
    for numbers in metrics["tasks"].values():
        numbers["errors"] = dict.fromkeys(ATTACKS, 1)
        for reader in ("exact", "lenient"):
            numbers["signatures"][reader] = {name: everything for name in numbers["signatures"][reader]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder
