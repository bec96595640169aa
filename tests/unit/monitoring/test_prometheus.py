"""Prometheus' configuration: what it holds, promtool's opinion, and that a refused one changes nothing."""

import shutil
from pathlib import Path

import pytest
import yaml

from monitoring import ConfigError, PrometheusConfig, write, write_alertmanager
from monitoring.objectives import shipped
from monitoring.prometheus import rule_texts
from monitoring.rules import FOLDER, alertmanager_document

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)


def _config(tmp_path: Path, **changes: object) -> PrometheusConfig:
    token = tmp_path / "token"
    token.write_text("x")
    return PrometheusConfig(
        **{
            "portal_url": "http://127.0.0.1:8480",
            "token_file": token,
            "static": {"millwright-gateway": "10.90.1.2:8482"},
            "portal_metrics": "/api/v1/prometheus/metrics",
            **changes,
        }  # type: ignore[arg-type]  # built from a dict
    )


@needs_promtool
def test_the_configuration_is_written_once_and_unchanged_the_second_time(tmp_path: Path) -> None:
    folder = tmp_path / "prom"
    assert write(_config(tmp_path), folder) is True
    assert write(_config(tmp_path), folder) is False
    document = yaml.safe_load((folder / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in document["scrape_configs"]}
    assert jobs["millwright-gateway"]["static_configs"] == [{"targets": ["10.90.1.2:8482"]}]
    discovery = jobs["millwright-discovered"]["http_sd_configs"][0]
    assert discovery["url"] == "http://127.0.0.1:8480/api/v1/prometheus/targets"
    assert jobs["millwright-portal"]["authorization"] == discovery["authorization"]
    assert "credentials" not in discovery["authorization"], "the token stays in its file"
    assert discovery["authorization"]["credentials_file"] == str(tmp_path / "token")


@needs_promtool
def test_a_refused_configuration_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "prom"
    write(_config(tmp_path), folder)
    before = (folder / "prometheus.yml").read_text()
    with pytest.raises(ConfigError, match="promtool refuses"):
        write(_config(tmp_path, static={"x": "http://not-a-target"}), folder)
    assert (folder / "prometheus.yml").read_text() == before
    assert not list(folder.glob("*.new*"))


def test_the_rules_as_files_are_those_that_the_objectives_make() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yml")}
    assert found == rule_texts(shipped()), "python -m monitoring.rules writes them again"


@needs_promtool
def test_rules_of_an_earlier_version_are_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "prom"
    write(_config(tmp_path), folder)
    (folder / "rules" / "old.yml").write_text("groups: []\n")
    assert write(_config(tmp_path), folder) is True
    assert {path.name for path in (folder / "rules").iterdir()} == {"slo.yml", "alerts.yml"}


def test_alertmanager_is_told_what_silences_what_and_amtool_agrees(tmp_path: Path) -> None:
    assert write_alertmanager(tmp_path, {"page": "http://127.0.0.1:9/hook"}) is True
    assert write_alertmanager(tmp_path, {"page": "http://127.0.0.1:9/hook"}) is False
    document = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    silenced = [
        rule
        for rule in document["inhibit_rules"]
        if rule["source_matchers"] == ['alertname="HostDown"']
    ]
    assert {tuple(rule["equal"]) for rule in silenced} == {("host",)}


def test_the_collections_alertmanager_keeps_the_same_silent() -> None:
    path = Path(__file__).parents[3] / "ansible/roles/alertmanager/templates/alertmanager.yml.j2"
    text = path.read_text(encoding="utf-8")
    block = yaml.safe_load(text[text.index("inhibit_rules:") :])
    assert block["inhibit_rules"] == alertmanager_document()["inhibit_rules"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"portal_url": "portal"}, "portal_url: 'portal'"), ({"interval_s": 0}, "interval_s: 0")],
)
def test_wrong_values_are_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _config(tmp_path, **changes).document(tmp_path)
