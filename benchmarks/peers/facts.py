"""What docs/comparison.md says about other tools, each sentence beside the check that it is so.

`make bench-peers` runs the checks against the tools as installed; the page's table is made from FACTS. A check imports
its tool itself, so that the sentences can be read without any of them.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fact:
    """A sentence about a tool, where its source is, and a function that fails where it is not so."""

    tool: str
    says: str
    source: str
    check: Callable[[], None]


def _kinds(module: Any) -> list[str]:
    """The classes of the leaves of a PyTorch module, in their order."""
    return [type(one).__name__ for one in module.modules() if not list(one.children())]


def keras_bias() -> None:
    import keras

    assert keras.layers.Conv2D(8, 3).use_bias
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization()])
    assert model.layers[0].bias is not None


def keras_applications() -> None:
    import keras

    model = keras.applications.ResNet50(weights=None)
    convolutions = [layer for layer in model.layers if type(layer).__name__ == "Conv2D"]
    assert len(convolutions) == 53 and all(layer.use_bias for layer in convolutions)


def ludwig_order() -> None:
    from ludwig.modules.convolutional_modules import Conv2DLayer
    from ludwig.modules.fully_connected_modules import FCLayer

    layer = Conv2DLayer(8, 8, 3, out_channels=4, norm="batch", dropout=0.2, pool_kernel_size=2)
    assert [type(one).__name__ for one in layer.layers] == ["Conv2d", "BatchNorm2d", "ReLU", "Dropout", "MaxPool2d"]
    layer = FCLayer(8, output_size=4, norm="batch", dropout=0.2)
    assert [type(one).__name__ for one in layer.layers] == ["Linear", "BatchNorm1dOrIdentity", "ReLU", "Dropout"]
    assert not any("order" in name for name in inspect.signature(Conv2DLayer).parameters)


def ludwig_bias() -> None:
    from ludwig.modules.convolutional_modules import Conv2DLayer

    assert Conv2DLayer(8, 8, 3, out_channels=4, norm="batch").layers[0].bias is not None


def monai_orders() -> None:
    from monai.networks.blocks import Convolution

    names = {"N": "BatchNorm2d", "A": "ReLU", "D": "Dropout"}
    settings: dict[str, Any] = {"act": "RELU", "norm": "BATCH", "dropout": 0.2}
    orders = ["".join(order) for size in (1, 2, 3) for order in itertools.permutations("NAD", size)]
    assert len(orders) == 15
    for order in orders:
        made = _kinds(Convolution(2, 1, 8, adn_ordering=order, **settings))
        assert made == ["Conv2d", *(names[letter] for letter in order)]
    assert inspect.signature(Convolution).parameters["adn_ordering"].default == "NDA"


def monai_bias() -> None:
    from monai.networks.blocks import Convolution

    assert Convolution(2, 1, 8, norm="BATCH").conv.bias is not None


def mmcv_orders() -> None:
    from mmcv.cnn import ConvModule

    for order in itertools.permutations(("conv", "norm", "act")):
        ConvModule(3, 3, 3, norm_cfg={"type": "BN"}, order=order)
    try:
        ConvModule(3, 3, 3, norm_cfg={"type": "BN"}, order=("conv", "norm", "act", "drop"))
    except AssertionError:
        pass
    else:
        raise AssertionError("an order with dropout is accepted")


def mmcv_bias() -> None:
    from mmcv.cnn import ConvModule

    for order in (("conv", "norm", "act"), ("conv", "act", "norm")):
        assert ConvModule(3, 8, 3, norm_cfg={"type": "BN"}, order=order).conv.bias is None


def fastai_orders() -> None:
    from fastai.layers import ConvLayer, LinBnDrop

    assert _kinds(ConvLayer(3, 8)) == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert _kinds(ConvLayer(3, 8, bn_1st=False)) == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert _kinds(LinBnDrop(4, 8, p=0.2)) == ["BatchNorm1d", "Dropout", "Linear"]
    assert _kinds(LinBnDrop(4, 8, p=0.2, lin_first=True)) == ["Linear", "BatchNorm1d", "Dropout"]


def fastai_bias() -> None:
    from fastai.layers import ConvLayer

    assert ConvLayer(3, 8)[0].bias is None and ConvLayer(3, 8, bn_1st=False)[0].bias is None


def timm_order() -> None:
    from timm.layers import ConvNormAct
    from torch import nn

    block = ConvNormAct(3, 8, 3, drop_layer=lambda: nn.Dropout(0.2))
    assert [type(block.conv).__name__, type(block.bn).__name__] == ["Conv2d", "BatchNormAct2d"]
    source = inspect.getsource(type(block.bn).forward)
    assert source.index("F.batch_norm(") < source.index("self.drop(x)") < source.index("self.act(x)")
    assert not any("order" in name for name in inspect.signature(ConvNormAct).parameters)


def timm_bias() -> None:
    from timm.layers import ConvNormAct

    assert ConvNormAct(3, 8, 3).conv.bias is None and ConvNormAct(3, 8, 3, apply_norm=False).conv.bias is None


FACTS: tuple[Fact, ...] = (
    Fact(
        "Keras",
        "`use_bias` is true until the author writes false, in front of a normalization too",
        "Conv2D",
        keras_bias,
    ),
    Fact("Keras", "its own ResNet50 has a bias in all 53 convolutions", "applications.ResNet50", keras_applications),
    Fact("Ludwig", "one order, W-N-A-D and pooling; no argument changes it", "Conv2DLayer, FCLayer", ludwig_order),
    Fact("Ludwig", "the bias in front of a normalization stays", "Conv2DLayer", ludwig_bias),
    Fact(
        "MONAI",
        "a string gives every order of N, A and D behind W, 15 of 49; the default is NDA",
        "Convolution, ADN",
        monai_orders,
    ),
    Fact("MONAI", "the bias in front of a normalization stays", "Convolution", monai_bias),
    Fact("mmcv", "all 6 orders of W, N and A, also before W; dropout is not part of it", "ConvModule", mmcv_orders),
    Fact(
        "mmcv",
        "the bias goes wherever there is a normalization, behind the activation too, where it is not redundant",
        "ConvModule",
        mmcv_bias,
    ),
    Fact(
        "fastai",
        "W-N-A or W-A-N for convolutions; N-D-W or W-N-D for linear layers",
        "ConvLayer, LinBnDrop",
        fastai_orders,
    ),
    Fact(
        "fastai",
        "the bias goes wherever there is a batch normalization, behind the activation too",
        "ConvLayer",
        fastai_bias,
    ),
    Fact(
        "timm", "one order, W-N-A, with dropout between N and A if asked for", "ConvNormAct, BatchNormAct2d", timm_order
    ),
    Fact("timm", "no bias by default, without a normalization too", "ConvNormAct", timm_bias),
)


def check(facts: Iterable[Fact]) -> int:
    """Run the checks; how many failed."""
    failed = 0
    for fact in facts:
        try:
            fact.check()
        except Exception as error:
            failed += 1
            print(f"{fact.tool}: {fact.says}: {type(error).__name__}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    tools = sys.argv[1:]
    sys.exit(check(fact for fact in FACTS if fact.tool in tools or not tools))
