"""Reading model folders, and the errors for invalid ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.model import read_model
from elastic_yolo.names import RESIZES, Resize
from tests.support.tiny import write_tiny_model, write_weights


def test_a_model_folder_needs_only_darknets_files(tiny_model: Path) -> None:
    model = read_model(tiny_model)

    assert (model.name, model.version, model.labels) == ("tiny", "1", ("square", "circle"))
    assert (model.threshold, model.iou, model.golden) == (0.5, 0.45, None)
    assert model.digest.startswith("sha256:")


def test_the_digest_changes_with_each_file(tiny_model: Path) -> None:
    before = read_model(tiny_model).digest
    (tiny_model / "tiny.names").write_text("square\nround\n")

    assert read_model(tiny_model).digest != before


def test_model_yaml_states_name_version_and_thresholds(tmp_path: Path) -> None:
    folder = write_tiny_model(
        tmp_path, manifest='name: mine\nversion: "7"\nthreshold: 0.25\niou: 0.6\n'
    )

    model = read_model(folder)

    assert (model.name, model.version, model.threshold, model.iou) == ("mine", "7", 0.25, 0.6)


@pytest.mark.parametrize(
    ("manifest", "net", "given", "expected"),
    [
        ("", "", None, ("letterbox", False)),
        ("", "letter_box=1", None, ("letterbox", True)),
        ("", "letter_box=0", None, ("stretch", True)),
        ("resize: stretch\n", "", None, ("stretch", True)),
        ("resize: stretch\n", "letter_box=1", None, ("stretch", True)),
        ("resize: letterbox\n", "letter_box=0", None, ("letterbox", True)),
        ("resize: stretch\n", "letter_box=0", "letterbox", ("letterbox", True)),
        ("", "", "stretch", ("stretch", True)),
    ],
)
def test_the_caller_then_model_yaml_then_the_cfg_state_resize(
    tmp_path: Path, manifest: str, net: str, given: Resize | None, expected: tuple[Resize, bool]
) -> None:
    """Without any of them it is a letterbox, as in pjreddie's Darknet."""
    folder = write_tiny_model(tmp_path, manifest=manifest)
    cfg = folder / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("[net]\n", f"[net]\n{net}\n"))

    model = read_model(folder, given)

    assert (model.resize, model.resize_stated) == expected
    assert model.input_format == InputFormat((32, 32), expected[0])


def test_artefacts_of_the_two_resize_rules_are_kept_apart(tiny_model: Path) -> None:
    """What is cached for a letterbox keeps the key that it had before there was a choice."""
    letterbox, stretch = (read_model(tiny_model, resize) for resize in RESIZES)

    assert letterbox.digest == stretch.digest == letterbox.cache_key
    assert stretch.cache_key == f"{stretch.digest}-stretch"


def test_a_letter_box_that_is_no_number_is_refused(tiny_model: Path) -> None:
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("[net]\n", "[net]\nletter_box=yes\n"))

    with pytest.raises(ModelError, match=r"tiny\.cfg:3: \[net\] letter_box=yes: expected a whole"):
        read_model(tiny_model)


def test_a_correct_digest_is_accepted(tiny_model: Path) -> None:
    digest = hashlib.sha256((tiny_model / "tiny.weights").read_bytes()).hexdigest()
    (tiny_model / "model.yaml").write_text(f"files: {{tiny.weights: 'sha256:{digest}'}}\n")

    assert read_model(tiny_model).name == "tiny"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("colour: red\n", r"model\.yaml: colour: unknown field$"),
        ("thresh: 0.3\n", r"model\.yaml: thresh: unknown field, did you mean threshold\?$"),
        ("threshold: 0,3\n", r"model\.yaml: threshold: expected a number, such as 0\.5$"),
        ("resize: crop\n", r"model\.yaml: resize: Input should be 'letterbox' or 'stretch'"),
        ("threshold: 2\n", r"model\.yaml: threshold: Input should be less than or equal to 1"),
        ("name: [\n", r"model\.yaml:\d+: not valid YAML"),
        (f"files: {{tiny.weights: 'sha256:{'0' * 64}'}}\n", r"tiny\.weights: expected sha256:0000"),
        (f"files: {{other.bin: 'sha256:{'0' * 64}'}}\n", r"names other\.bin, which does not exist"),
        ("golden: {picture: a.png, expected: []}\n", r"golden\.expected: .* at least 1"),
    ],
)
def test_an_invalid_model_yaml_is_refused(tiny_model: Path, manifest: str, message: str) -> None:
    (tiny_model / "model.yaml").write_text(manifest)

    with pytest.raises(ModelError, match=message):
        read_model(tiny_model)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        read_model(tmp_path / "absent")


@pytest.mark.parametrize("suffix", [".cfg", ".weights", ".names"])
def test_each_file_must_be_there(tiny_model: Path, suffix: str) -> None:
    (tiny_model / f"tiny{suffix}").unlink()

    alternative = ", or a .data file that names it" if suffix == ".names" else ""
    with pytest.raises(ModelError, match=rf"one \{suffix} file{alternative}, found none"):
        read_model(tiny_model)


def test_two_candidates_are_refused(tiny_model: Path) -> None:
    (tiny_model / "backup.weights").write_bytes(b"")

    with pytest.raises(ModelError, match=r"found backup\.weights, tiny\.weights"):
        read_model(tiny_model)


def test_labels_must_match_the_classes(tiny_model: Path) -> None:
    (tiny_model / "tiny.names").write_text("square\n")

    with pytest.raises(ModelError, match=r"1 labels, but tiny\.cfg has classes=2"):
        read_model(tiny_model)


def test_label_names_may_have_a_byte_order_mark_and_any_script(tiny_model: Path) -> None:
    (tiny_model / "tiny.names").write_text("\ufeff林檎\r\n👩\u200d🌾\r\n", encoding="utf-8")

    assert read_model(tiny_model).labels == ("林檎", "👩\u200d🌾")


@pytest.mark.parametrize("letter", ["\x1b", "\x85", "\u2028", "\u202e", "\u2066"])
def test_a_label_has_no_character_that_changes_the_text_around_it(
    tiny_model: Path, letter: str
) -> None:
    """Escape sequences, ends of lines, and marks that turn the direction of what follows."""
    (tiny_model / "tiny.names").write_text(f"square\ncir{letter}cle\n", newline="")

    with pytest.raises(ModelError, match="expected at most 200 printable characters"):
        read_model(tiny_model)


def test_a_label_may_join_letters_without_a_visible_character(tiny_model: Path) -> None:
    """U+200C in Persian, U+200D in Hindi and emoji, and U+00A0."""
    labels = ("\u0645\u06cc\u200c\u062e\u0648", "\U0001f468\u200d\U0001f469 no\u00a01")
    (tiny_model / "tiny.names").write_text("\n".join(labels))

    assert read_model(tiny_model).labels == labels


def test_weights_that_do_not_fit_are_reported_with_what_the_cfg_has_in_vain(
    tiny_model: Path,
) -> None:
    """The weights have rolling statistics, and the option that says so is misspelt."""
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("filters=7", "filters=7\nbatch_normalise=1"))
    write_weights(tiny_model / "tiny.weights", [0.0] * (28 + 3 * 7))

    expected = r"tiny\.weights: .*floats.*tiny\.cfg:9: \[convolutional\] batch_normalise=1 has no"
    with pytest.raises(ModelError, match=expected):
        read_model(tiny_model)


def test_a_version_may_be_a_bare_number(tiny_model: Path) -> None:
    (tiny_model / "model.yaml").write_text("version: 7\nthreshold: .25\n")

    model = read_model(tiny_model)

    assert (model.version, model.threshold) == ("7", 0.25)


def test_links_are_followed(tiny_model: Path, tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap as links into another folder."""
    folder = tmp_path / "links"
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).symlink_to(path)

    assert read_model(folder).digest == read_model(tiny_model).digest


def test_hidden_files_of_macos_are_ignored(tiny_model: Path) -> None:
    (tiny_model / "._tiny.cfg").write_bytes(b"\x00\x05\x16\x07")

    assert read_model(tiny_model).name == "tiny"


def test_a_name_that_would_forge_a_log_line_is_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "a\nERROR all is lost"

    with pytest.raises(ModelError) as caught:
        read_model(folder)

    assert str(caught.value).startswith(f"{tmp_path}/a\\nERROR all is lost: no such folder")


def test_too_many_candidates_are_listed_in_short(tiny_model: Path) -> None:
    for number in range(1000):
        (tiny_model / f"{number:03}.cfg").touch()

    with pytest.raises(ModelError, match=r"found 000\.cfg, .*, 004\.cfg and 996 more$"):
        read_model(tiny_model)
