"""Prometheus' configuration, generated: the control plane by address, everything else by discovery."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .objectives import Objectives, shipped
from .rules import rule_documents

_GENERATED = "# Generated; changes here are lost.\n"


class ConfigError(ValueError):
    """A configuration that cannot be generated, or that promtool refuses; the text has its words."""


@dataclass(frozen=True, slots=True)
class PrometheusConfig:
    """What the configuration depends on.

    Attributes:
        portal_url: base of the portal; its discovery lists host agents and vPLCs.
        token_file: file with a token of scope "discovery".
        static: job name → `host:port` of the control plane's own processes.
        interval_s: time between scrapes.
    """

    portal_url: str
    token_file: Path
    static: dict[str, str] = field(default_factory=dict)
    interval_s: int = 5
    alertmanager: str = ""
    #: path of the portal's own metrics, read with the same token; empty: none
    portal_metrics: str = ""

    def document(self, rules: Path) -> dict[str, Any]:
        """The configuration as data."""
        parts = urlsplit(self.portal_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"portal_url: {self.portal_url!r}; expected http://host:port")
        if self.interval_s < 1:
            raise ConfigError(f"interval_s: {self.interval_s}; at least 1")
        jobs: list[dict[str, Any]] = [
            {"job_name": name, "static_configs": [{"targets": [target]}]}
            for name, target in sorted(self.static.items())
        ]
        bearer = {"type": "Bearer", "credentials_file": str(self.token_file)}
        if self.portal_metrics:
            jobs.append(
                {
                    "job_name": "millwright-portal",
                    "scheme": parts.scheme,
                    "metrics_path": self.portal_metrics,
                    "authorization": bearer,
                    "static_configs": [{"targets": [parts.netloc]}],
                }
            )
        jobs.append(
            {
                # The targets' own labels name their job: millwright-agent or vplc.
                "job_name": "millwright-discovered",
                "http_sd_configs": [
                    {
                        "url": f"{self.portal_url.rstrip('/')}/api/v1/prometheus/targets",
                        "refresh_interval": "5s",
                        "authorization": dict(bearer),
                    }
                ],
            }
        )
        document: dict[str, Any] = {
            "global": {
                "scrape_interval": f"{self.interval_s}s",
                "scrape_timeout": f"{min(self.interval_s, 4)}s",
                "evaluation_interval": f"{self.interval_s}s",
            },
            "rule_files": [str(rules / "*.yml")],
            "scrape_configs": jobs,
        }
        if self.alertmanager:
            document["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [self.alertmanager]}]}]
            }
        return document


def write(config: PrometheusConfig, folder: Path, objectives: Objectives | None = None) -> bool:
    """Write `prometheus.yml` and the rules into a folder; True if anything changed.

    Raises:
        ConfigError: promtool refuses it; the files that were there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rules = folder / "rules"
    changed = write_rules(rules, objectives or shipped())
    text = _GENERATED + yaml.safe_dump(config.document(rules), sort_keys=False)
    target = folder / "prometheus.yml"
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return changed
    scratch = folder / "prometheus.new.yml"
    scratch.write_text(text, encoding="utf-8")
    try:
        check(scratch)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return True


def write_rules(folder: Path, objectives: Objectives) -> bool:
    """Write the generated rules; what an earlier version left there is taken away. True if anything changed.

    Raises:
        ConfigError: promtool refuses one; the files that were there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = rule_texts(objectives)
    changed = False
    for name, text in texts.items():
        changed |= _replace(folder / name, text, "rules")
    for stale in folder.glob("*.yml"):
        if stale.name not in texts:
            stale.unlink()
            changed = True
    return changed


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that people can read an expression."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def rule_texts(objectives: Objectives) -> dict[str, str]:
    """File name → text of the rules."""
    return {
        name: _GENERATED + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110)
        for name, document in rule_documents(objectives).items()
    }


def _replace(path: Path, text: str, what: str) -> bool:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    try:
        check(scratch, what)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return True


def check(path: Path, what: str = "config") -> None:
    """Ask promtool, which comes with Prometheus. Without it there is nothing to scrape with either.

    Args:
        what: "config" or "rules".

    Raises:
        ConfigError: with promtool's words.
    """
    tool = shutil.which("promtool")
    if tool is None:
        raise ConfigError("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(
        [tool, "check", what, str(path)], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise ConfigError(f"promtool refuses {path}: {(done.stdout + done.stderr).strip()}")
