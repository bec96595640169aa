"""template.yaml: what is accepted, and what a person is told when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmtemplates import TemplateError, load_template, load_templates
from vmtemplates.loader import HERE

GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "box",
    "version": "1.2",
    "title": "A box",
    "class": "realtime",
    "sizes": [
        {
            "name": "small",
            "vcpus": [{"role": "housekeeping"}, {"role": "control"}],
            "memory_bytes": 256 * 2**20,
            "disk_bytes": 2**30,
        }
    ],
    "image": {"recipe": "debian", "kernel_package": "linux-image-rt-amd64"},
    "health": {"probe": "modbus"},
}


def written(folder: Path, data: object) -> Path:
    path = folder / "box" / "template.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


def changed(**changes: Any) -> dict[str, Any]:
    data = {**GOOD, **changes}
    return {key: value for key, value in data.items() if value is not None}


def test_the_shipped_templates_are_right() -> None:
    found = load_templates()
    assert {"tiny", "vplc"} <= set(found)
    vplc = found["vplc"]
    assert vplc.service_class == "realtime"
    assert vplc.outputs == {"modbus": 502, "modbus_tls": 802, "opcua": 4840, "metrics": 9400}
    assert vplc.identity == "smbios"
    assert vplc.offered
    assert not found["tiny"].offered


@pytest.mark.parametrize("name", ["cae-node", "collab-services", "cad-workstation"])
def test_machines_beside_the_controller_prove_that_their_software_works(name: str) -> None:
    template = load_templates()[name]
    assert template.offered
    assert template.service_class == "shared"
    assert template.health.probe == "http"
    assert {"http", "health"} <= set(template.outputs)
    files = HERE / name / "files"
    assert (files / "check").read_text().startswith("#!/usr/bin/python3\n")
    own = [*files.rglob("*"), *(HERE / "common/files").rglob("*")]
    for path in own:
        if path.is_file() and path.read_text().startswith("#!/usr/bin/python3"):
            compile(path.read_text(), str(path), "exec")
    units = {path.name: path.read_text() for path in own if path.suffix == ".service"}
    for text in units.values():
        for word in re.findall(r"/opt/millwright/[\w-]+", text):
            assert any(path.name == Path(word).name for path in own), word


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    template = load_template(written(tmp_path, GOOD))
    assert template.name == "box"
    assert [vcpu.role for vcpu in template.sizes[0].vcpus] == ["housekeeping", "control"]
    assert template.as_spec()["class"] == "realtime"


@pytest.mark.parametrize("field", ["schema", "name", "version", "title", "class", "sizes", "image"])
def test_a_missing_field_is_named_with_its_file(tmp_path: Path, field: str) -> None:
    path = written(tmp_path, changed(**{field: None}))
    with pytest.raises(TemplateError, match=f"{field}: Field required") as error:
        load_template(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, ["schema = 2", "Input should be 1"]),
        ({"name": "Box!"}, ["name = 'Box!'", "pattern"]),
        ({"class": "hard"}, ["class = 'hard'", "realtime"]),
        ({"colour": "red"}, ["colour = 'red'", "not permitted"]),
        ({"sizes": []}, ["sizes = []", "at least 1"]),
        ({"outputs": {"modbus": 70000}}, ["outputs.modbus = 70000", "65535"]),
        ({"outputs": {"telnet": 23}}, ["outputs.telnet", "modbus"]),
        ({"class": "shared"}, ["sizes.small.vcpus", "control is for class realtime only"]),
        (
            {"sizes": [{**GOOD["sizes"][0], "memory_bytes": 100_000_001}]},
            ["sizes.0.memory_bytes = 100000001", "multiple of 1048576"],
        ),
        (
            {"sizes": [{**GOOD["sizes"][0], "vcpus": [{"role": "housekeeping"}]}]},
            ["sizes.small.vcpus", "needs a vCPU of role control"],
        ),
        ({"sizes": [GOOD["sizes"][0], GOOD["sizes"][0]]}, ["sizes: names repeat"]),
        ({"requires": {"hugepages": "4K"}}, ["requires.hugepages = '4K'", "'2M'"]),
        (
            {"requires": {"hugepages": "1G"}},
            ["sizes.small.memory_bytes", "not a whole number of pages of 1G"],
        ),
        ({"requires": {"cpu_features": ["AVX 2"]}}, ["requires.cpu_features.0 = 'AVX 2'"]),
        ({"requires": {"cpu_features": ["avx2", "avx2"]}}, ["a feature is named twice"]),
        ({"requires": {"storage_pool": "../fast"}}, ["requires.storage_pool = '../fast'"]),
        ({"requires": {"gpu": {"count": 0}}}, ["requires.gpu.count = 0", "greater than"]),
        ({"requires": {"gpu": {"model": "T4"}}}, ["requires.gpu.model = 'T4'", "pattern"]),
        ({"requires": {"gpu": {"profile": "a b"}}}, ["requires.gpu.profile = 'a b'", "pattern"]),
        (
            {"requires": {"gpu": {"profile": "nvidia-35", "model": "10de:1eb8"}}},
            ["requires.gpu", "name one of them"],
        ),
        ({"requires": {"floppy": True}}, ["requires.floppy", "not permitted"]),
        ({"health": {"probe": "http"}}, ["outputs", "needs the output health"]),
        ({"health": {"probe": "modbus", "timeout_s": 0}}, ["health.timeout_s = 0", "greater than"]),
    ],
)
def test_field_value_and_rule_are_named(
    tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(TemplateError) as error:
        load_template(written(tmp_path, changed(**change)))
    for word in words:
        assert word in str(error.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as error:
        load_template(written(tmp_path, changed(title=None, version="one")))
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["- a\n- list\n", "name: [unclosed\n", ""])
def test_what_is_no_mapping_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TemplateError, match=r"template\.yaml: "):
        load_template(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"none\.yaml"):
        load_template(tmp_path / "none.yaml")


def test_folder_and_name_must_agree(tmp_path: Path) -> None:
    written(tmp_path, changed(name="crate"))
    with pytest.raises(TemplateError, match="must be the folder's name, 'box'"):
        load_templates(tmp_path)


def test_a_vgpu_profile_is_kept_and_read_back(tmp_path: Path) -> None:
    from millwright.environments.sizes import requires_of

    asked = {"gpu": {"profile": "nvidia-35", "count": 2}}
    found = requires_of(load_template(written(tmp_path, changed(requires=asked))).as_spec())
    assert (found.gpus, found.gpu_profile, found.gpu_model) == (2, "nvidia-35", "")


def test_what_a_template_asks_of_its_host_is_kept_and_read_back(tmp_path: Path) -> None:
    from millwright.environments.sizes import Requires, requires_of

    asked = {
        "hugepages": "2M",
        "cpu_features": ["avx2", "sse4.2"],
        "storage_pool": "fast",
        "gpu": {"model": "10de:1eb8"},
    }
    spec = load_template(written(tmp_path, changed(requires=asked))).as_spec()
    found = requires_of(spec)
    assert found == Requires(2**21, frozenset({"avx2", "sse4.2"}), "fast", 1, "10de:1eb8")
    assert found
    plain = load_template(written(tmp_path, changed())).as_spec()
    assert not requires_of(plain)
    assert requires_of({"name": "of an older release"}) == requires_of(plain) == Requires()
