"""The options that a section may have, and those that are supported with one value only.

Names and defaults: `src/parser.c` of pjreddie's Darknet and of AlexeyAB's fork.
"""

from __future__ import annotations

from elastic_yolo.detector.darknet.cfg import Section
from elastic_yolo.detector.errors import CfgError

# Options that affect inference.
_KNOWN = {
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
    "dropout": "probability dropblock dropblock_size_rel dropblock_size_abs",
    "yolo": "classes num mask anchors scale_x_y new_coords nms_kind beta_nms",
    "Gaussian_yolo": "classes num mask anchors scale_x_y yolo_point nms_kind beta_nms",
    "region": "classes num anchors softmax",
}

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
    stopbackward onlyforward dontload dontloadscales dont_update burnin_update train_only_bn
    grad_centr stream wait_stream
    """.split()
)

# Options that change detections if they have any other value: refused, never ignored.
_ONLY = {
    "antialiasing": "0",
    "assisted_excitation": "0",
    "background": "0",
    "binary": "0",
    "bin_output": "0",
    "cbn": "0",
    "coordconv": "0",
    "coords": "4",
    "dot": "0",
    "maxpool_depth": "0",
    "maxpool_zero_nonmax": "0",
    "reverse": "0",
    "rotate": "0",
    "stretch": "0",
    "stretch_sway": "0",
    "sway": "0",
    "weights_type": "none",
    "xnor": "0",
}


def check_options(section: Section) -> None:
    """Raise CfgError for the first option that is unknown or has an unsupported value."""
    kind = "net" if section.kind == "network" else section.kind
    known = _KNOWN[kind].split()
    for key, option in section.options.items():
        if key in known or key in _TRAINING or _ONLY.get(key) == option.value:
            continue
        raise CfgError(
            f"{section.file}:{option.line}: [{section.kind}] {key}={option.value} is not supported"
        )
