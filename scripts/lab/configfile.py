"""Engine configurations of a lab: configs/lab/*.toml is the source, a run changes paths, cores and what it tests."""
import os
import tomllib
from pathlib import Path

from .shell import ROOT

SOURCE = ROOT / "configs" / "lab"


def load(name: str) -> dict:
    """configs/lab/NAME.toml as tables."""
    return tomllib.loads((SOURCE / f"{name}.toml").read_text())


def cpus(count: int) -> list[int]:
    """`count` CPUs that exist here; some twice where there are fewer."""
    here = sorted(os.sched_getaffinity(0))
    return [here[i % len(here)] for i in range(count)]


def place(config: dict, folder: Path, lcore: int) -> dict:
    """Put a configuration's files into a lab's folder and its worker on a CPU that exists here."""
    name = config["engine"]["name"]
    config["dpdk"]["cores"] = [cpus(lcore + 1)[lcore]]
    for key, file in (("ca", "ca.pem"), ("cert", f"{name}.pem"), ("key", f"{name}.key")):
        config["control"][key] = str(folder / "pki" / file)
    config["api"]["socket"] = str(folder / f"{name}.sock")
    return config


def dumps(config: dict) -> str:
    """TOML of plain tables, arrays of tables, and inline values: what our configurations are made of."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict):
            lines += [f"[{key}]", *_pairs(value), ""]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                lines += [f"[[{key}]]", *_pairs(item), ""]
        else:
            lines.insert(0, f"{key} = {_value(value)}")
    return "\n".join(lines)


def _pairs(table: dict) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }"
    raise TypeError(f"no TOML for {value!r}")


def use_protocol(config: dict, **keys) -> dict:
    """Another protocol in place of ESP, with its keys."""
    for tunnel in config["tunnel"]:
        if tunnel["protocol"] == "esp":
            if not keys["protocol"].startswith("esp"):
                tunnel.pop("cipher", None)
            tunnel |= keys
    return config


def use_gre(config: dict, key: int = 42) -> dict:
    """GRE with key and sequence numbers in place of ESP."""
    for tunnel in config["tunnel"]:
        if tunnel["protocol"] == "esp":
            tunnel.pop("cipher", None)
            tunnel |= {"protocol": "gre", "gre_key": key, "gre_sequence": True}
    return config


def use_outer_v6(config: dict) -> dict:
    """IPv6 outer headers for the tunnels over the WAN."""
    for tunnel in config["tunnel"]:
        if tunnel["protocol"] != "direct":
            for end in ("local", "remote"):
                tunnel[end] = tunnel[end].replace("192.0.2.", "2001:db8:0:1::")
    return config
