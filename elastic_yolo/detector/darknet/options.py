"""The options that a section may have: those that are read, those without effect, those refused.

Names and defaults: `src/parser.c` of pjreddie's Darknet and of AlexeyAB's fork.
"""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.detector.darknet.cfg import Option, Section, shown
from elastic_yolo.detector.darknet.numbers import read_number, read_whole
from elastic_yolo.detector.errors import CfgError

# Options that affect inference.
_KNOWN = {
    "empty": "",
    "net": "width height channels letter_box",
    "convolutional": "filters size stride stride_x stride_y pad padding dilation groups "
    "batch_normalize activation flipped",
    "maxpool": "size stride stride_x stride_y padding",
    "local_avgpool": "size stride stride_x stride_y padding",
    "avgpool": "",
    "upsample": "stride scale",
    "route": "layers groups group_id",
    "shortcut": "from activation",
    "scale_channels": "from activation scale_wh",
    "sam": "from activation",
    "reorg": "stride",
    "reorg3d": "stride",
    "dropout": "",
    "yolo": "classes num mask anchors scale_x_y new_coords nms_kind beta_nms",
    "Gaussian_yolo": "classes num mask anchors scale_x_y yolo_point nms_kind beta_nms",
    "region": "classes num anchors softmax",
}

# Of them, those that are words, and those that have fractions. The others are whole numbers.
_WORDS = frozenset({"activation", "nms_kind", "yolo_point"})
_FRACTIONS = frozenset({"anchors", "beta_nms", "scale", "scale_x_y"})

# Options for training, logging or tracking only. They do not change detections.
_TRAINING = frozenset(
    """
    batch subdivisions momentum decay angle saturation exposure hue learning_rate
    learning_rate_min learning_rate_scale burn_in max_batches policy steps scales step scale power
    gamma adam B1 B2 eps max_crop min_crop aspect inputs flip blur gaussian_noise mixup cutmix
    mosaic mosaic_bound ema_alpha sgdr_cycle sgdr_mult seq_scales label_smooth_eps
    resize_step attention adversarial_lr max_chart_loss max_chart loss_scale dynamic_minibatch
    optimized_memory use_cuda_graph try_fix_nan weights_reject_freq equidistant_point
    badlabels_rejection_percentage num_sigmas_reject_badlabels contrastive contrastive_jit_flip
    contrastive_color unsupervised workspace_size_limit_MB sequential_subdivisions time_steps
    track augment_speed max_epochs seen
    ignore_thresh truth_thresh jitter resize random max map iou_loss iou_normalizer cls_normalizer
    obj_normalizer uc_normalizer delta_normalizer iou_thresh iou_thresh_kind objectness_smooth
    max_delta focal_loss counters_per_class show_details track_history_size sim_thresh
    dets_for_track dets_for_show track_ciou_norm embedding_layer embedding_size beta1
    bias_match rescore object_scale noobject_scale class_scale coord_scale mask_scale absolute
    thresh log sqrt classfix
    stopbackward onlyforward dont_update burnin_update train_only_bn
    grad_centr stream wait_stream
    show_receptive_field clip notruth max_ratio min_ratio center truth dontsave smooth out_channels
    probability dropblock dropblock_size_rel dropblock_size_abs weights_normalization
    """.split()
)

# Options that change detections if they have any other value: refused, never ignored. With None,
# every value does.
_ONLY: dict[str, dict[str, str | None]] = {
    "convolutional": {
        "antialiasing": "0",
        "assisted_excitation": "0",
        "bin_output": "0",
        "binary": "0",
        "cbn": "0",
        "coordconv": "0",
        "dontload": "0",
        "dontloadscales": "0",
        "dot": "0",
        "numload": "0",
        "reverse": "0",
        "rotate": "0",
        "share_index": None,
        "stretch": "0",
        "stretch_sway": "0",
        "sway": "0",
        "xnor": "0",
    },
    "maxpool": {"antialiasing": "0", "maxpool_depth": "0", "maxpool_zero_nonmax": "0"},
    "region": {"background": "0", "coords": "4", "tree": None},
    "reorg": {"extra": "0", "flatten": "0", "reverse": "0"},
    "reorg3d": {"reverse": "0"},
    "shortcut": {"alpha": "1", "beta": "1", "weights_type": "none"},
}

INERT = _TRAINING.difference(*(names.split() for names in _KNOWN.values()), *_ONLY.values())
"""The options that have no effect on detections in any section."""


def check_options(section: Section) -> list[str]:
    """Return what Darknet ignores in a section, a line for each, with file and line.

    Raises CfgError for the first option that changes detections in a way that is not supported.
    """
    known = _KNOWN[section.kind].split()
    only = _ONLY.get(section.kind, {})
    notes = [
        _note(section, line.number, f"{shown(line.text)} has no value: Darknet skips the line")
        for line in section.ignored
    ]
    for key, option in section.options.items():
        if option.value is None:
            what = f"{shown(key)} without '=' has no effect"
            notes.append(_note(section, option.line, f"{what}: the default counts"))
        elif key in only:
            if not _has(option.value, only[key]):
                raise CfgError(
                    f"{section.file}:{option.line}: [{section.written}] "
                    f"{key}={shown(option.value)} is not supported"
                )
        elif key in known:
            notes += _ignored_rests(section, key, option)
        elif key not in _TRAINING:
            what = f"{shown(key)}={shown(option.value)} has no effect"
            notes.append(_note(section, option.line, f"{what}: Darknet has no such option here"))
    return notes


def _note(section: Section, line: int, what: str) -> str:
    return f"{section.file}:{line}: [{section.written}] {what}"


def _has(value: str, expected: str | None) -> bool:
    """Return whether Darknet reads a value as the expected one, a number or a word."""
    if expected is None or not expected.isdecimal():
        return value == expected
    try:
        return read_number(value)[0] == int(expected)
    except ValueError:
        return False


def _ignored_rests(section: Section, key: str, option: Option) -> Iterator[str]:
    """Yield a note for each number with something behind it that is no comment.

    What is no number at all is an error of the layer's reader.
    """
    if key in _WORDS:
        return
    read = read_number if key in _FRACTIONS else read_whole
    for part in (option.value or "").split(","):
        try:
            value, rest = read(part)
        except ValueError:
            return
        if rest and rest[0] in "#;/":
            return
        if rest:
            yield _note(
                section, option.line, f"{key}: {shown(part)} is read as {value:g}, as Darknet does"
            )
