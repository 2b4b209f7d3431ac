"""The C structures of darknet.h (September 2018, built without GPU) for ctypes.

Every member is declared, in order and with its C type, so that ctypes computes the same offsets as
the compiler. Pointers that this package does not follow are declared `void *`.
"""

from __future__ import annotations

from ctypes import POINTER, Structure, c_float, c_int, c_size_t, c_void_p

# Members of enum LAYER_TYPE for heads.
REGION = 22
YOLO = 23

_Members = list[tuple[str, type]]


def _members(kind: type, names: str) -> _Members:
    return [(name, kind) for name in names.split()]


class Layer(Structure):
    """`struct layer`, 1184 bytes on 64-bit Linux."""

    _fields_ = (
        _members(c_int, "type activation cost_type")
        + _members(c_void_p, "forward backward update forward_gpu backward_gpu update_gpu")
        + _members(
            c_int,
            "batch_normalize shortcut batch forced flipped inputs outputs nweights nbiases extra "
            "truths h w c out_h out_w out_c n max_boxes groups size side stride reverse flatten "
            "spatial pad sqrt flip index binary xnor steps hidden truth",
        )
        + _members(
            c_float,
            "smooth dot angle jitter saturation exposure shift ratio learning_rate_scale clip",
        )
        + _members(
            c_int,
            "noloss softmax classes coords background rescore objectness joint noadjust reorg log "
            "tanh",
        )
        + _members(c_void_p, "mask")
        + _members(c_int, "total")
        + _members(
            c_float,
            "alpha beta kappa coord_scale object_scale noobject_scale mask_scale class_scale",
        )
        + _members(c_int, "bias_match random")
        + _members(c_float, "ignore_thresh truth_thresh thresh focus")
        + _members(
            c_int,
            "classfix absolute onlyforward stopbackward dontload dontsave dontloadscales numload",
        )
        + _members(c_float, "temperature probability scale")
        + _members(
            c_void_p,
            "cweights indexes input_layers input_sizes map counts sums rand cost state prev_state "
            "forgot_state forgot_delta state_delta combine_cpu combine_delta_cpu concat "
            "concat_delta binary_weights biases bias_updates scales scale_updates weights "
            "weight_updates delta",
        )
        + _members(POINTER(c_float), "output")
        + _members(
            c_void_p,
            "loss squared norms spatial_mean mean variance mean_delta variance_delta rolling_mean "
            "rolling_variance x x_norm m v bias_m bias_v scale_m scale_v z_cpu r_cpu h_cpu "
            "prev_state_cpu temp_cpu temp2_cpu temp3_cpu dh_cpu hh_cpu prev_cell_cpu cell_cpu "
            "f_cpu i_cpu g_cpu o_cpu c_cpu dc_cpu binary_input input_layer self_layer "
            "output_layer reset_layer update_layer state_layer input_gate_layer state_gate_layer "
            "input_save_layer state_save_layer input_state_layer state_state_layer input_z_layer "
            "state_z_layer input_r_layer state_r_layer input_h_layer state_h_layer wz uz wr ur wh "
            "uh uo wo uf wf ui wi ug wg softmax_tree",
        )
        + _members(c_size_t, "workspace_size")
    )


class Network(Structure):
    """`struct network`, 272 bytes on 64-bit Linux."""

    _fields_ = (
        _members(c_int, "n batch")
        + _members(c_void_p, "seen t")
        + _members(c_float, "epoch")
        + _members(c_int, "subdivisions")
        + _members(POINTER(Layer), "layers")
        + _members(c_void_p, "output")
        + _members(c_int, "policy")
        + _members(c_float, "learning_rate momentum decay gamma scale power")
        + _members(c_int, "time_steps step max_batches")
        + _members(c_void_p, "scales steps")
        + _members(c_int, "num_steps burn_in adam")
        + _members(c_float, "B1 B2 eps")
        + _members(c_int, "inputs outputs truths notruth h w c max_crop min_crop")
        + _members(c_float, "max_ratio min_ratio")
        + _members(c_int, "center")
        + _members(c_float, "angle aspect exposure saturation hue")
        + _members(c_int, "random gpu_index")
        + _members(c_void_p, "hierarchy input truth delta workspace")
        + _members(c_int, "train index")
        + _members(c_void_p, "cost")
        + _members(c_float, "clip")
    )


class Image(Structure):
    """`image`: (c, h, w) float32 from 0 to 1."""

    _fields_ = _members(c_int, "w h c") + _members(POINTER(c_float), "data")


class Box(Structure):
    """`box`: centre, width and height."""

    _fields_ = _members(c_float, "x y w h")


class Detection(Structure):
    """`detection`: a box with one probability for every class."""

    _fields_ = (
        _members(Box, "bbox")
        + _members(c_int, "classes")
        + _members(POINTER(c_float), "prob")
        + _members(c_void_p, "mask")
        + _members(c_float, "objectness")
        + _members(c_int, "sort_class")
    )
