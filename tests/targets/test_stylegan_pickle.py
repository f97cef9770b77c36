"""Published pickles are read whole, and hostile ones are refused, with nothing executed."""

import contextlib
import copyreg
import io
import itertools
import json
import os
import pickle
import pickletools
import random
import struct
import sys
import time
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from safelight.errors import LoadError
from safelight.targets.stylegan_pickle import networks as limits
from safelight.targets.stylegan_pickle.read import read_stylegan_pickle

# ---------------------------------------------------------------- what the published code writes


class Persistent(nn.Module):
    """A module that pickles as those of the published code do, with its source beside it."""

    def __init__(self, class_name, source, args=(), kwargs=None, **settings):
        super().__init__()
        self.__dict__.update(settings, _init_args=args, _init_kwargs=dict(kwargs or {}))
        self.__dict__["_own"] = (class_name, source)

    def __reduce__(self):
        state = dict(self.__dict__)
        class_name, source = state.pop("_own")
        meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": class_name,
            "state": state,
        }
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


def module(name, **content):
    made = types.ModuleType(name)
    for key, value in content.items():
        value.__module__ = name
        value.__qualname__ = key
        setattr(made, key, value)
    return made


@pytest.fixture
def packages(monkeypatch):
    """The packages that the published code pickles by name, as far as pickling needs them."""

    def run_source(meta):
        exec(meta["module_src"], {})  # noqa: S102 - as the original loader does

    EasyDict = type("EasyDict", (dict,), {})  # noqa: N806
    Network = type("Network", (), {"__init__": lambda self, **state: vars(self).update(state)})  # noqa: N806
    for made in (
        module("torch_utils"),
        module("torch_utils.persistence", _reconstruct_persistent_obj=run_source),
        module("dnnlib"),
        module("dnnlib.util", EasyDict=EasyDict),
        module("dnnlib.tflib"),
        module("dnnlib.tflib.network", Network=Network),
    ):
        monkeypatch.setitem(sys.modules, made.__name__, made)
    return types.SimpleNamespace(EasyDict=EasyDict, Network=Network)


SOURCE = "open('executed', 'w').close()\nraise RuntimeError('executed')\n"


def part(name, tensors=None, **settings):
    """A module with parameters and buffers drawn from a fixed seed."""
    made = Persistent(name, SOURCE, **settings)
    for key, value in (tensors or {}).items():
        if key in ("weight", "bias", "const"):
            made.register_parameter(key, nn.Parameter(value, requires_grad=False))
        else:
            made.register_buffer(key, value)
    return made


def stylegan2(packages, resolution=16, c_dim=0, channels=4, dtype=torch.float32, **synthesis):
    """A generator with the layout of StyleGAN2-ADA's."""
    draw = torch.Generator().manual_seed(resolution + c_dim)

    def normal(*shape):
        return torch.randn(shape, generator=draw).to(dtype)

    kwargs = {
        "z_dim": 8,
        "c_dim": c_dim,
        "w_dim": 8,
        "img_resolution": resolution,
        "img_channels": 3,
        "mapping_kwargs": packages.EasyDict(num_layers=2),
        "synthesis_kwargs": packages.EasyDict(synthesis),
    }
    network = part("Generator", kwargs=kwargs, z_dim=8, c_dim=c_dim)
    network.mapping = part("MappingNetwork", {"w_avg": normal(8)}, embed=None)
    if c_dim:
        network.mapping.embed = part("FullyConnectedLayer", {"weight": normal(8, c_dim)})
    network.mapping.fc0 = part(
        "FullyConnectedLayer",
        {"weight": normal(8, 8 + 8 * bool(c_dim)), "bias": normal(8)},
        weight_gain=np.float64(0.01) / np.sqrt(8),
    )
    network.synthesis = part("SynthesisNetwork", block_resolutions=[4, 8, resolution])
    for size in (2**power for power in range(2, resolution.bit_length())):
        block = part("SynthesisBlock", {"resample_filter": normal(4, 4)}, use_fp16=size > 8)
        if size == 4:
            block.register_parameter("const", nn.Parameter(normal(channels, 4, 4)))
        weight = normal(channels, channels, 3, 3).to(memory_format=torch.channels_last)
        block.conv1 = part(
            "SynthesisLayer",
            {"weight": weight, "noise_strength": normal(), "noise_const": normal(size, size)},
            conv_clamp=256 if size > 8 else None,
        )
        setattr(network.synthesis, f"b{size}", block)
    return network


def stylegan3(packages, kernel=3, radial=False, resolution=16):
    """A generator with the layout of StyleGAN3's: numpy settings, filters that may be missing."""
    kwargs = {
        "z_dim": 8,
        "c_dim": 0,
        "img_resolution": resolution,
        "conv_kernel": kernel,
        "use_radial_filters": radial,
        "magnitude_ema_beta": 0.999,
    }
    network = part("Generator", kwargs=kwargs)
    network.synthesis = part("SynthesisNetwork", layer_names=["L0_36_4"])
    network.synthesis.input = part(
        "SynthesisInput",
        {"freqs": torch.rand(4, 2), "transform": torch.eye(3)},
        size=np.broadcast_to(np.asarray(36), [2]),
        bandwidth=np.float64(2),
    )
    layer = part(
        "SynthesisLayer",
        {
            "weight": torch.rand(4, 4, kernel, kernel),
            "bias": torch.zeros(4),
            "magnitude_ema": torch.ones([]),
            "up_filter": None,
            "down_filter": torch.rand(12, 12) if radial else torch.rand(12),
        },
        use_fp16=np.bool_(True),
        padding=[9, 8, 9, 8],
    )
    network.synthesis.L0_36_4 = layer
    return network


def snapshot(generator, discriminator=None):
    """The dictionary that the published training loop saves."""
    return {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "max_size": 9},
        "G": generator,
        "D": discriminator,
        "G_ema": generator,
        "augment_pipe": None,
    }


def saved(place, value, protocol=4):
    file = place / "network.pkl"
    file.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return file


def same(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)


def assert_holds(found, network):
    expected = network.state_dict()
    assert list(found.tensors) == list(expected)
    assert all(same(found.tensors[name], value) for name, value in expected.items())
    assert all(value.is_contiguous() for value in found.tensors.values())


# ---------------------------------------------------------------- what must be read


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"resolution": 64, "num_fp16_res": 4, "conv_clamp": 256},
        {"resolution": 8, "c_dim": 10, "architecture": "skip"},
        {"channels": 7, "dtype": torch.float16},
        {"dtype": torch.bfloat16},
        {"dtype": torch.float64, "architecture": "orig"},
    ],
    ids=str,
)
def test_reads_stylegan2_of_any_configuration(packages, tmp_path, protocol, options):
    network = stylegan2(packages, **options)
    found = read_stylegan_pickle(saved(tmp_path, snapshot(network), protocol))
    assert found.layout == "pytorch"
    assert list(found.networks) == ["G", "G_ema"]
    ours = found.networks["G_ema"]
    assert_holds(ours, network)
    assert (ours.kind, ours.args, ours.kwargs) == ("Generator", [], network._init_kwargs)
    last = max(network.synthesis.block_resolutions)
    assert ours.settings[f"synthesis.b{last}.conv1.conv_clamp"] == (256 if last > 8 else None)
    assert ours.settings["mapping.fc0.weight_gain"] == pytest.approx(0.01 / 8**0.5, abs=0)
    assert not any("training" in name or "._" in name for name in ours.settings)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(("kernel", "radial"), [(3, False), (1, True)])
def test_reads_stylegan3_of_any_configuration(packages, tmp_path, protocol, kernel, radial):
    network = stylegan3(packages, kernel, radial)
    found = read_stylegan_pickle(saved(tmp_path, snapshot(network), protocol)).networks["G_ema"]
    assert_holds(found, network)
    assert found.kwargs == network._init_kwargs
    assert found.settings["synthesis.input.size"] == [36, 36]
    assert found.settings["synthesis.input.bandwidth"] == 2.0
    assert found.settings["synthesis.L0_36_4.use_fp16"] is True
    json.dumps([found.kwargs, found.settings])


DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reads_every_type_and_layout_in_memory(packages, tmp_path, dtype):
    whole = torch.randint(0, 100, (6, 5, 4)).to(dtype)
    network = part(
        "Generator",
        {
            "contiguous": whole,
            "transposed": whole.permute(2, 0, 1),
            "sliced": whole[2:5, ::2, 1],
            "scalar": whole[3, 2, 1],
            "empty": whole[:, :0],
            "one_row": whole[5:, :, 3:],
        },
    )
    found = read_stylegan_pickle(saved(tmp_path, snapshot(network))).networks["G"]
    assert_holds(found, network)


def test_leaves_out_what_no_state_dict_has_and_keeps_what_is_shared(packages, tmp_path):
    network = stylegan2(packages)
    network.register_buffer("passing", torch.ones(1), persistent=False)
    network.again = network.mapping
    found = read_stylegan_pickle(saved(tmp_path, snapshot(network))).networks["G_ema"]
    assert_holds(found, network)
    shared = found.tensors["again.w_avg"], found.tensors["mapping.w_avg"]
    assert torch.equal(*shared)
    assert shared[0].data_ptr() != shared[1].data_ptr()


def test_reads_settings_of_other_plain_types(packages, tmp_path):
    network = part(
        "Generator",
        args=(8, torch.Size([4, 4])),
        kwargs={"device": torch.device("cpu"), "kept": {3, 1}, "fixed": frozenset({"a"})},
        dtype=torch.float16,
        large=np.zeros(1000),
    )
    for protocol in (2, 3, 4, 5):
        found = read_stylegan_pickle(saved(tmp_path, snapshot(network), protocol)).networks["G"]
        assert found.args == [8, [4, 4]]
        assert found.kwargs == {"device": "cpu", "kept": [1, 3], "fixed": ["a"]}
        assert found.settings == {"dtype": "torch.float16"}


def tensorflow(packages, name, variables, kwargs, components=()):
    return packages.Network(
        version=4,
        name=name,
        static_kwargs=packages.EasyDict(kwargs),
        components=packages.EasyDict(components),
        build_module_src=SOURCE,
        build_func_name=f"{name}_main",
        variables=variables,
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_the_tensorflow_layout(packages, tmp_path, protocol):
    draw = np.random.default_rng(0)
    dense = draw.normal(size=(8, 8)).astype(np.float32)
    kernel = np.asfortranarray(draw.normal(size=(3, 3, 4, 4)).astype(np.float32))
    count = np.array(7, np.int64)
    kwargs = {"resolution": 1024, "label_size": 0, "fmap_base": 8192, "structure": "linear"}

    def network(name):
        mapping = tensorflow(packages, "mapping", [("Dense0/weight", dense)], {"layers": 8})
        synthesis = tensorflow(packages, "synthesis", [("4x4/Conv/weight", kernel)], kwargs)
        components = {"mapping": mapping, "synthesis": synthesis}
        return tensorflow(packages, name, [("lod", count)], kwargs, components)

    file = saved(tmp_path, (network("G"), network("D"), network("Gs")), protocol)
    found = read_stylegan_pickle(file)
    assert found.layout == "tensorflow"
    assert list(found.networks) == ["G", "D", "G_ema"]
    ours = found.networks["G_ema"]
    assert (ours.kind, ours.kwargs) == ("Gs_main", kwargs)
    assert set(ours.tensors) == {"lod", "mapping.Dense0.weight", "synthesis.4x4.Conv.weight"}
    assert same(ours.tensors["mapping.Dense0.weight"], torch.from_numpy(dense))
    assert same(ours.tensors["synthesis.4x4.Conv.weight"], torch.from_numpy(kernel))
    assert same(ours.tensors["lod"], torch.tensor(7))
    assert ours.settings["mapping.build_func_name"] == "mapping_main"
    assert ours.settings["mapping.layers"] == 8


def test_a_huge_memo_index_costs_nothing(packages, tmp_path):
    good = pickle.dumps(snapshot(stylegan3(packages)), 2)
    moved = good[:-1] + b"r\xff\xff\xff\xff."
    assert read_stylegan_pickle(saved(tmp_path, moved)).networks


# ---------------------------------------------------------------- hostile files

EXECUTED = []
WATCHED = {
    "exec",
    "compile",
    "import",
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "marshal.loads",
    "ctypes.dlopen",
    "socket.connect",
}
watching = [False]


def watch(event, given):
    if watching[0] and (event in WATCHED or (event == "open" and given[1] not in ("rb", "r"))):
        EXECUTED.append((event, given))


sys.addaudithook(watch)

COMMAND = "touch executed"


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module_name, name):
    return text(module_name) + text(name) + b"\x93"


def sized(code, raw):
    return code + struct.pack("<I", len(raw)) + raw


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def number(value):
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(*values):
    return b"(" + b"".join(number(value) for value in values) + b"t"


PROTOCOL = b"\x80\x04"
SYSTEM = named(os.system.__module__, "system")
ORDERED = call(named("collections", "OrderedDict"))
MODULE = named("torch_utils.persistence", "_reconstruct_persistent_obj")
TF = named("dnnlib.tflib.network", "Network") + b")\x81"
RUN = call(SYSTEM, text(COMMAND))
MAGIC = PROTOCOL + b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
VERSION = PROTOCOL + b"M\xe9\x03."
LITTLE = PROTOCOL + b"}" + text("little_endian") + b"\x88s."


def dictionary(**items):
    return b"}" + b"".join(text(key) + value + b"s" for key, value in items.items())


def fake_module(name="Generator", **state):
    filled = {"_parameters": b"}", "_buffers": b"}", "_modules": b"}", **state}
    meta = {
        "type": text("class"),
        "version": b"K\x06",
        "module_src": text(SOURCE),
        "class_name": text(name),
        "state": dictionary(**filled),
    }
    return call(MODULE, dictionary(**meta))


def described(kind="FloatStorage", what="storage", key="0", count=4, view=b"N"):
    parts = text(what) + named("torch", kind) + text(key) + text("cpu") + number(count) + view
    return PROTOCOL + b"(" + parts + b"tQ."


def inner(
    description=None, system=LITTLE, key="0", count=4, raw=bytes(16), magic=MAGIC, version=VERSION
):
    """The file that a storage travels as, or one that pretends to be."""
    keys = PROTOCOL + b"]" + text(key) + b"a."
    return (
        magic + version + system + (description or described()) + keys + struct.pack("<Q", count)
    ) + raw


LOAD = named("torch.storage", "_load_from_bytes")


def storage(content=None, **options):
    return call(LOAD, sized(b"B", inner(**options) if content is None else content))


def tensor(offset=0, shape=(2, 2), stride=(2, 1), stored=None, hooks=ORDERED, **options):
    rebuild = named("torch._utils", "_rebuild_tensor_v2")
    of = storage(**options) if stored is None else stored
    sizes = [numbers(*one) if isinstance(one, tuple) else one for one in (shape, stride)]
    return call(rebuild, of, number(offset), *sizes, b"\x89", hooks)


def array(code="f4", shape=(2, 2), raw=None, order="<", cls=("numpy", "ndarray"), names=b"N"):
    made = call(
        named("numpy.core.multiarray", "_reconstruct"), named(*cls), b"K\x00\x85", sized(b"B", b"b")
    )
    kind = call(named("numpy", "dtype"), text(code), b"\x89", b"\x88")
    kind += b"(K\x03" + text(order) + b"N" + names + b"NK\x00K\x00K\x00tb"
    content = sized(b"B", bytes(16)) if raw is None else raw
    return made + b"(K\x01" + numbers(*shape) + kind + b"\x89" + content + b"tb"


def holding(value):
    """A file whose generator has the value as a parameter."""
    return root(fake_module(_parameters=dictionary(weight=value)))


def setting(value):
    """A file whose generator was constructed with the value."""
    return root(fake_module(_init_kwargs=dictionary(option=value)))


def root(network):
    return PROTOCOL + dictionary(G_ema=network) + b"."


def beside(value):
    """A file with a good generator, and the value beside it."""
    good = fake_module(_parameters=dictionary(weight=tensor()))
    return PROTOCOL + dictionary(G_ema=good, augment_pipe=value) + b"."


def laughs():
    """Lists of two of the list before: a few hundred bytes that unfold to 2**60 values."""
    steps = b"]q\x64" + b"".join(
        b"](h" + bytes([100 + level]) + b"h" + bytes([100 + level]) + b"eq" + bytes([101 + level])
        for level in range(60)
    )
    return b"(" + steps + b"t"


def modules_in_modules(levels=22):
    made = fake_module() + b"q\x64"
    for level in range(levels):
        got = b"h" + bytes([100 + level])
        made += fake_module(_modules=dictionary(a=got, b=got)) + b"q" + bytes([101 + level])
    inside = b"(" + made + b"t"
    return (
        PROTOCOL + dictionary(training_set_kwargs=inside, G_ema=b"h" + bytes([100 + levels])) + b"."
    )


def module_in_itself():
    parts = b"}q\x01"
    own = fake_module(_modules=parts) + b"q\x02"
    filled = b"h\x01" + text("a") + b"h\x02s"
    return PROTOCOL + dictionary(G_ema=own, D=b"N", extra=filled) + b"."


def names_of_one(value, count):
    again = b"".join(text(f"p{index}") + b"h\x01s" for index in range(count))
    return dictionary(first=value + b"q\x01") + again


def large_tensor(count=250_000):
    content = inner(count=count, description=described(count=count), raw=bytes(4 * count))
    return tensor(shape=(count,), stride=(1,), stored=storage(content))


def variables(*pairs):
    return b"](" + b"".join(text(name) + value + b"\x86" for name, value in pairs) + b"e"


def tensorflow_file(**changed):
    state = {
        "version": b"K\x04",
        "name": text("G"),
        "static_kwargs": b"}",
        "components": b"}",
        "build_module_src": text(SOURCE),
        "build_func_name": text("G_main"),
        "variables": variables(("lod", array(shape=(), raw=sized(b"B", bytes(4))))),
        **changed,
    }
    network = TF + dictionary(**state) + b"b"
    return PROTOCOL + network * 3 + b"\x87."


def routes():
    """Ways to os.system, and to its like. Those marked do run it where pickle reads them."""
    arguments = text(COMMAND) + b"\x85"
    yield "reduce", RUN, True
    yield "reduce by GLOBAL", b"cos\nsystem\n" + arguments + b"R", True
    yield "reduce by dotted GLOBAL", b"cos\npath.os.system\n" + arguments + b"R", True
    yield "reduce by dotted STACK_GLOBAL", named("os", "path.os.system") + arguments + b"R", True
    yield "INST", b"(" + text(COMMAND) + b"ios\nsystem\n", True
    yield "OBJ", b"(" + SYSTEM + text(COMMAND) + b"o", True
    yield "NEWOBJ", SYSTEM + arguments + b"\x81", False
    yield "NEWOBJ_EX", SYSTEM + arguments + b"}\x92", False
    yield "OBJ of an allowed name", b"(" + named("collections", "OrderedDict") + b"o", False
    yield "NEWOBJ_EX of an allowed name", named("dnnlib.util", "EasyDict") + b")}\x92", False
    yield "INST of an allowed name", b"(icollections\nOrderedDict\n", False
    yield "EXT1", b"\x82\x01" + arguments + b"R", True
    yield "EXT2", b"\x83\x01\x00" + arguments + b"R", True
    yield "EXT4", b"\x84\x01\x00\x00\x00" + arguments + b"R", True
    yield "PERSID", b"Pos.system\n", False
    yield "BINPERSID", text("os.system") + b"Q", False
    yield "eval", call(named("builtins", "eval"), text("open('executed', 'w').close()")), True
    yield "exec", call(named("builtins", "exec"), text(SOURCE)), True
    yield "__import__", call(named("builtins", "__import__"), text("antigravity")), False
    yield "getattr", call(named("builtins", "getattr"), named("os", "path"), text("os")), False
    yield "attrgetter", call(named("operator", "attrgetter"), text("system")), False
    yield "methodcaller", call(named("operator", "methodcaller"), text("run")), False
    yield "partial", call(named("functools", "partial"), SYSTEM, text(COMMAND)), False
    yield "open", call(named("builtins", "open"), text("executed"), text("w")), False
    yield "Popen", call(named("subprocess", "Popen"), b"](" + text("touch") + b"e"), False
    yield "check_output", named("subprocess", "check_output"), False
    yield "import_module", call(named("importlib", "import_module"), text("this")), False
    yield "runpy", call(named("runpy", "run_path"), text("x.py")), False
    yield "marshal", call(named("marshal", "loads"), sized(b"B", b"N")), False
    yield "pickle.loads", call(named("pickle", "loads"), sized(b"B", PROTOCOL + RUN + b".")), True
    yield "torch.load", call(named("torch", "load"), text("other.pt")), False
    yield "torch.hub", call(named("torch.hub", "load"), text("someone/thing")), False
    yield "numpy.load", call(named("numpy", "load"), text("x.npy")), False
    yield "code", named("types", "FunctionType"), False
    yield "reconstructor", call(named("copyreg", "_reconstructor"), SYSTEM, b"N", b"N"), False
    yield "dotted from an allowed name", named("collections", "OrderedDict.fromkeys"), False
    yield "allowed module, other name", named("torch._utils", "_import_dotted_name"), False
    yield "their own loader", named("dnnlib.util", "construct_class_by_name"), False
    yield "name with an escape", b"cos\nsys\x1b[31mtem\n", False
    yield "name with a line break", named("os\nall is well", "system"), False
    yield "name that is no text", b"K\x01K\x02\x93", False
    yield "call of what was built", fake_module() + b")R", False
    yield "call without a tuple", named("collections", "OrderedDict") + b"]R", False
    yield "call of an inert name", call(named("torch", "FloatStorage"), b"K\x04"), False
    state = dictionary(__setstate__=SYSTEM)
    yield "BUILD a class", named("collections", "OrderedDict") + state + b"b", False
    yield (
        "BUILD a class, harmless",
        named("dnnlib.util", "EasyDict") + dictionary(a=b"N") + b"b",
        False,
    )
    yield "BUILD a function", MODULE + dictionary(__code__=b"N") + b"b", False
    yield "BUILD __dict__", fake_module() + dictionary(__dict__=b"}") + b"b", False
    yield "BUILD slots", fake_module() + b"N" + dictionary(__class__=b"N") + b"\x86b", False
    yield "BUILD a tensor", tensor() + dictionary(__class__=b"N") + b"b", False
    yield "BUILD a dictionary", b"}" + dictionary(a=b"N") + b"b", False
    yield "BUILD an array twice", array() + b"(K\x01K\x00\x85NN]tb", False
    yield "BUILD a network with no state", TF + b"Nb", False
    yield "BUILD a network twice", TF + b"}b}b", False


ROUTES = {name: (value, fires) for name, value, fires in routes()}


def hostile_storages():
    yield "plain pickle", storage(PROTOCOL + RUN + b".")
    yield "mark", storage(magic=PROTOCOL + RUN + b".")
    yield "version", storage(version=PROTOCOL + RUN + b".")
    yield "system", storage(system=PROTOCOL + RUN + b".")
    yield "description", storage(description=PROTOCOL + RUN + b".")
    yield (
        "in a description",
        storage(
            description=PROTOCOL + b"(" + text("storage") + SYSTEM + text("0") * 2 + b"K\x04NtQ."
        ),
    )
    yield "no storage", storage(description=PROTOCOL + b"].")
    yield "storage in a list", storage(description=described()[:-1] + b"\x85.")
    yield "inside itself", storage(description=PROTOCOL + storage() + b".")
    yield "of another type", storage(description=described("QInt8Storage"))
    yield "untyped", storage(description=described("UntypedStorage"))
    yield "a module", storage(description=described(what="module"))
    yield "short description", storage(description=PROTOCOL + text("storage") + b"\x85Q.")
    yield "a view", storage(description=described(view=text("0") + b"K\x01K\x02\x87"))
    yield "another key", storage(key="1")
    yield "other count", storage(count=3)
    yield "huge count", storage(count=2**60, description=described(count=2**60))
    yield "negative count", storage(description=described(count=-4))
    yield "bytes behind", storage(raw=bytes(20))
    yield "bytes missing", storage(raw=bytes(15))
    yield "big-endian", storage(system=PROTOCOL + b"}" + text("little_endian") + b"\x89s.")
    yield "no system", storage(system=PROTOCOL + b"N.")
    yield "empty", storage(b"")
    yield "an archive", storage(b"PK\x03\x04" + bytes(60))
    yield "not bytes", call(LOAD, text("x"))
    yield "two arguments", call(LOAD, sized(b"B", b""), RUN)
    yield "as protocol 0", storage(b"cos\nsystem\n(S'touch executed'\ntR.")


def hostile_tensors():
    yield "offset out of bounds", tensor(offset=1)
    yield "size out of bounds", tensor(shape=(2, 3), stride=(3, 1))
    yield "stride out of bounds", tensor(stride=(3, 1))
    yield "far out of bounds", tensor(offset=2**62)
    yield "beyond any integer", tensor(offset=2**70)
    yield "sum wraps around", tensor(shape=(2, 2), stride=(2**63 - 1, 2**63 - 1))
    yield "negative size", tensor(shape=(-2, 2))
    yield "negative stride", tensor(stride=(-1, 1))
    yield "negative offset", tensor(offset=-1)
    yield "size is a bool", tensor(shape=b"\x88\x85", stride=(1,))
    yield "size is a float", tensor(shape=b"G" + struct.pack(">d", 2) + b"\x85", stride=(1,))
    yield "size is a list", tensor(shape=b"]K\x02a", stride=(1,))
    yield "size is a global", tensor(shape=named("torch", "float32"))
    yield "more strides than sizes", tensor(stride=(2, 1, 1))
    yield "all on one element", tensor(shape=(1000, 1000), stride=(0, 0))
    yield "rows overlap", tensor(shape=(2, 3), stride=(1, 1))
    yield "too many dimensions", tensor(shape=(1,) * 1000, stride=(1,) * 1000)
    yield "product overflows", tensor(shape=(2**40, 2**40), stride=(0, 0))
    yield "empty and enormous", tensor(shape=(0, 2**40, 2**40), stride=(1, 1, 1))
    yield "hooks", tensor(hooks=b"}K\x01" + fake_module() + b"s")
    yield "no storage", tensor(stored=b"N")
    yield "storage is an array", tensor(stored=array())
    yield "metadata", tensor(hooks=ORDERED + dictionary(neg=b"\x88"))
    yield "of three arguments", call(named("torch._utils", "_rebuild_tensor_v2"), b"NNN")
    parameter = named("torch._utils", "_rebuild_parameter")
    yield "parameter of a module", call(parameter, fake_module(), b"\x89", ORDERED)
    yield "parameter with hooks", call(parameter, tensor(), b"\x89", b"}K\x01Ns")
    yield "a number", b"K\x01"
    yield "a module", fake_module()
    yield "bare storage", storage()
    scalar = named("numpy.core.multiarray", "scalar")
    yield "number of objects", call(scalar, call(named("numpy", "dtype"), text("O8"), b"NN"), b"N")
    yield "number without type", call(scalar, b"N", sized(b"B", bytes(8)))
    yield "array of objects", array("O8")
    yield "array of pickled objects", array(raw=b"](" + RUN + b"e")
    yield "array with a list", array(raw=b"]")
    yield "array of text", array("U4")
    yield "array of dates", array("M8")
    yield "array of raw bytes", array("V4")
    yield "array of records", array("f4", names=text("a") + b"\x85")
    yield "array of complex numbers", array("c8")
    yield "array of another class", array(cls=("collections", "OrderedDict"))
    yield "array too short", array(shape=(3, 3))
    yield "array too long", array(shape=(1,))
    yield "array of enormous sizes", array(shape=(2**62, 4))
    yield "array with a negative size", array(shape=(-2, -2))
    yield "big-endian array", array(order=">")
    yield "array without content", array().split(b"(K\x01")[0]
    buffer = named("numpy.core.numeric", "_frombuffer")
    yield "buffer of objects", call(buffer, b"]", b"N", b")", text("C"))
    encode = named("_codecs", "encode")
    yield "bytes by another codec", call(encode, text("x"), text("rot13"))
    yield "bytes that are none", call(encode, text("\u20ac"), text("latin1"))
    yield "bytes of no text", call(encode, b"N", text("latin1"))


def bombs():
    yield "billion laughs", setting(laughs())
    yield "list in itself", setting(b"]q\x01h\x01a")
    yield "dictionary in itself", setting(b"}q\x01" + text("a") + b"h\x01s")
    yield "modules in modules", modules_in_modules()
    yield "module in itself", module_in_itself()
    yield "deep lists", setting(b"]" * 100_000 + b"a" * 99_999)
    yield "deep tuples", setting(b")" + b"\x85" * 100_000)
    yield "deep modules", root(deep_modules(60))
    yield "many opcodes", PROTOCOL + b"]" * 1_000_001
    yield "many marks", PROTOCOL + b"(" * 1_000_001
    yield "many sets", PROTOCOL + b"(" + b"\x8f" * 1_000_001
    yield (
        "one tensor by many names",
        root(fake_module(_parameters=names_of_one(large_tensor(), 1000))),
    )
    yield (
        "many tensors",
        root(
            fake_module(
                _parameters=b"}"
                + b"".join(
                    text(f"p{index}")
                    + (tensor(shape=(1,), stride=(1,)) + b"q\x01" if not index else b"h\x01")
                    + b"s"
                    for index in range(30_000)
                )
            )
        ),
    )
    yield "bytes again and again", PROTOCOL + b"(" + encodings() + b"t."
    yield "LONG4", PROTOCOL + b"\x8b" + struct.pack("<i", 2**31 - 1)
    yield "LONG4, negative", PROTOCOL + b"\x8b" + struct.pack("<i", -1)
    yield "LONG1", PROTOCOL + b"\x8a\xff" + bytes(255) + b"."
    for name, code in {"BINBYTES8": 0x8E, "BINUNICODE8": 0x8D, "BYTEARRAY8": 0x96}.items():
        yield name, PROTOCOL + bytes([code]) + struct.pack("<Q", 2**63)
    yield "BINBYTES", PROTOCOL + b"B" + struct.pack("<I", 2**32 - 1)
    yield "FRAME", PROTOCOL + b"\x95" + struct.pack("<Q", 2**62) + b"N."
    yield "NEXT_BUFFER", PROTOCOL + b"\x97."
    yield (
        "colliding keys",
        setting(
            b"}(" + b"".join(number(index * (2**61 - 1)) + b"N" for index in range(100)) + b"u"
        ),
    )
    yield "key that is a tuple", setting(b"}))s")
    yield "key that is a float", setting(b"}G" + bytes(8) + b"Ns")
    yield "member that is a tuple", setting(b"\x8f()\x90")
    yield "frozen set of lists", setting(b"(]\x91")
    yield "set of lists", setting(call(named("builtins", "set"), b"]]a"))


def deep_modules(levels):
    made = fake_module()
    for _ in range(levels):
        made = fake_module(_modules=dictionary(a=made))
    return made


def encodings():
    function = named("_codecs", "encode") + b"q\x01"
    arguments = text("x" * 1_000_000) + text("latin1") + b"\x86q\x02"
    return function + arguments + b"R" + b"h\x01h\x02R" * 1000


def malformed():
    weight = tensor()
    yield "key twice", PROTOCOL + b"}" + (text("G_ema") + fake_module() + b"s") * 2 + b"."
    yield (
        "name in two places",
        root(fake_module(_parameters=dictionary(a=weight), _buffers=dictionary(a=weight))),
    )
    dotted = {"a.b": weight}
    yield (
        "name that looks nested",
        root(
            fake_module(
                _parameters=dictionary(**dotted),
                _modules=dictionary(a=fake_module(_parameters=dictionary(b=weight))),
            )
        ),
    )
    yield "name with a line break", root(fake_module(_parameters=dictionary(**{"a\nb": weight})))
    yield "name with an escape", root(fake_module(_buffers=dictionary(**{"\x1b[31m": weight})))
    yield "name with a path", root(fake_module(_modules=dictionary(**{"../a": fake_module()})))
    yield "name that is a number", root(fake_module(_parameters=b"}K\x01" + weight + b"s"))
    yield "endless name", root(fake_module(_parameters=dictionary(**{"a" * 201: weight})))
    yield "class with an escape", root(fake_module("Gen\x1b[31m"))
    yield "class that is a path", root(fake_module("os.system"))
    yield "no meta", PROTOCOL + dictionary(G_ema=call(MODULE, b"N")) + b"."
    yield "another meta", PROTOCOL + dictionary(G_ema=call(MODULE, dictionary(type=b"N"))) + b"."
    yield "parameters in a list", root(fake_module(_parameters=b"]"))
    yield "modules in a list", root(fake_module(_modules=b"]"))
    yield "part that is a tensor", root(fake_module(_modules=dictionary(a=weight)))
    yield "passing names in no set", root(fake_module(_non_persistent_buffers_set=b"K\x01"))
    yield "arguments in no tuple", root(fake_module(_init_args=b"N"))
    yield "arguments in no dictionary", root(fake_module(_init_kwargs=b"]"))
    yield "argument that is bytes", setting(sized(b"B", b"x"))
    yield "argument that is a module", setting(fake_module())
    yield (
        "argument that is a large array",
        setting(array(shape=(100,), raw=sized(b"B", bytes(400)))),
    )
    yield "setting that is a module", root(fake_module(extra=fake_module()))
    yield "tf: variables in no list", tensorflow_file(variables=b"}")
    yield "tf: variable without a name", tensorflow_file(variables=b"]K\x01N\x86a")
    yield "tf: variable that is no pair", tensorflow_file(variables=b"]" + text("ab") + b"a")
    yield "tf: variable twice", tensorflow_file(variables=variables(("a", array()), ("a", array())))
    yield (
        "tf: names that meet",
        tensorflow_file(variables=variables(("a/b", array()), ("a.b", array()))),
    )
    yield "tf: array of objects", tensorflow_file(variables=variables(("a", array("O8"))))
    yield "tf: component that is none", tensorflow_file(components=dictionary(a=b"N"))
    yield "tf: component without state", tensorflow_file(components=dictionary(a=TF))
    yield "tf: no arguments", tensorflow_file(static_kwargs=b"N")
    yield "tf: function with an escape", tensorflow_file(build_func_name=text("\x1b[31m"))
    yield "tf: no source", tensorflow_file(build_module_src=b"N")
    yield "tf: no state", PROTOCOL + TF * 3 + b"\x87."
    yield (
        "tf: in itself",
        PROTOCOL
        + (
            TF
            + b"q\x01"
            + dictionary(static_kwargs=b"}", components=dictionary(a=b"h\x01"), variables=b"]")
            + b"b"
        )
        + b"h\x01h\x01\x87.",
    )
    yield "only two networks", PROTOCOL + TF * 2 + b"\x86."
    yield "a state dict", PROTOCOL + dictionary(weight=weight) + b"."
    yield "no networks", PROTOCOL + dictionary(G=b"N", G_ema=b"N") + b"."
    yield "networks of both kinds", PROTOCOL + dictionary(G=TF + b"}b", G_ema=fake_module()) + b"."
    yield "one module", PROTOCOL + fake_module() + b"."
    yield "bytes behind", root(fake_module()) + b"x"
    yield "a second pickle behind", root(fake_module()) + PROTOCOL + RUN + b"."
    yield "empty", b""
    yield "one byte", b"\x80"
    yield "protocol 0", b"cos\nsystem\n(S'touch executed'\ntR."
    yield "protocol 1", b"}."
    yield "protocol 6", b"\x80\x06}."
    yield "protocol again", PROTOCOL + b"}\x80\x04."
    yield "an archive", b"PK\x03\x04" + bytes(100)
    yield "a page", b"<!DOCTYPE html><title>404</title>"
    yield "a pointer", b"version https://git-lfs.github.com/spec/v1\n"
    yield "text that is not UTF-8", PROTOCOL + b"X\x02\x00\x00\x00\xff\xfe."
    yield "a lone surrogate", PROTOCOL + b"X\x03\x00\x00\x00\xed\xa0\x80."
    yield "name without an end", PROTOCOL + b"c" + b"o" * 500
    yield "recalled but never kept", PROTOCOL + b"h\x07."
    yield "text of Python 2", PROTOCOL + b"U\x01a."
    yield "stops early", PROTOCOL + b"NN."
    yield "stops within a mark", PROTOCOL + b"N(."
    yield "nothing at all", PROTOCOL + b"."


HOSTILE = {
    **{f"route: {name}": beside(value) for name, (value, _) in ROUTES.items()},
    **{f"route, inside: {name}": holding(value) for name, (value, _) in ROUTES.items()},
    **{f"storage: {name}": holding(tensor(stored=value)) for name, value in hostile_storages()},
    **{f"tensor: {name}": holding(value) for name, value in hostile_tensors()},
    **{f"bomb: {name}": value for name, value in bombs()},
    **{f"malformed: {name}": value for name, value in malformed()},
}


@pytest.fixture
def watched(packages, tmp_path, monkeypatch):
    """Read bytes as a file; fail if that executes, imports or writes anything."""
    monkeypatch.chdir(tmp_path)
    read_stylegan_pickle(saved(tmp_path, beside(b"N")))  # what torch imports late, it has now

    def read(content):
        file = saved(tmp_path, content)
        EXECUTED.clear()
        watching[0] = True
        try:
            return read_stylegan_pickle(file)
        finally:
            watching[0] = False
            assert EXECUTED == []
            assert os.listdir(tmp_path) == ["network.pkl"]

    return read


def assert_one_clear_line(message):
    assert message.startswith("cannot read ")
    assert "; " in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 500


def test_there_are_many_hostile_files():
    assert len(HOSTILE) > 200


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_on_one_line_with_nothing_executed(watched, name):
    content = HOSTILE[name]
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(LoadError) as refused:
            watched(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_one_clear_line(str(refused.value))
    assert time.process_time() - started < 20
    assert peak < 400e6 if name.startswith("bomb: many") else peak < 30e6 + 8 * len(content)


@pytest.mark.parametrize("name", [name for name, (_, fires) in ROUTES.items() if fires])
def test_the_hostile_files_would_run_their_command_if_pickle_read_them(
    packages, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(copyreg._inverted_registry, 1, (os.system.__module__, "system"))
    monkeypatch.setattr(copyreg, "_extension_cache", {})
    with contextlib.suppress(RuntimeError):  # that the source itself raises, once it has run
        pickle.loads(PROTOCOL + ROUTES[name][0] + b".")
    assert (tmp_path / "executed").exists()


def test_the_source_beside_a_network_would_run_if_pickle_read_it(packages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="executed"):
        pickle.loads(beside(b"N"))
    assert (tmp_path / "executed").exists()


def test_storages_would_run_their_command_if_torch_read_them(packages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = dict(hostile_storages())["plain pickle"]
    with pytest.raises(Exception):  # noqa: B017, PT011 - after it has run, torch fails anyhow
        pickle.loads(PROTOCOL + hostile + b".")
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("layout", ["pytorch", "tensorflow"])
def test_a_file_cut_anywhere_is_refused(watched, layout):
    whole = {
        "pytorch": root(fake_module(_parameters=dictionary(weight=tensor()))),
        "tensorflow": tensorflow_file(),
    }[layout]
    assert watched(whole).layout == layout
    ends = {at for *_, at in pickletools.genops(whole)}
    for cut in sorted(ends | {at + 1 for at in ends} | set(range(0, len(whole), 7))):
        if cut < len(whole):
            with pytest.raises(LoadError) as refused:
                watched(whole[:cut])
            assert_one_clear_line(str(refused.value))


def test_every_opcode_alone_is_refused(watched):
    for code, behind in itertools.product(range(256), (b".", bytes(12) + b".", b"\xff" * 12)):
        with pytest.raises(LoadError) as refused:
            watched(PROTOCOL + bytes([code]) + behind)
        assert_one_clear_line(str(refused.value))


def test_damage_anywhere_is_refused_or_harmless(watched, packages):
    whole = pickle.dumps(snapshot(stylegan3(packages)), 4)
    draw = random.Random(0)  # noqa: S311
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3, 10])):
            broken[draw.randrange(len(whole))] = draw.randrange(256)
        try:
            watched(bytes(broken))
        except LoadError as error:
            assert_one_clear_line(str(error))
            refused += 1
    assert refused > 100


def test_a_bool_of_any_byte_is_a_bool(watched):
    content = bytes([0, 1, 2, 255])
    kind = described("BoolStorage")
    file = holding(tensor(shape=(4,), stride=(1,), description=kind, raw=content))
    value = watched(file).networks["G_ema"].tensors["weight"]
    assert value.tolist() == [False, True, True, True]
    assert value.view(torch.uint8).tolist() == [0, 1, 1, 1]


def test_a_dictionary_class_without_attributes_may_say_so(watched):
    empty = named("dnnlib.util", "EasyDict") + b")\x81}b"
    kwargs = watched(setting(empty + text("a") + b"K\x01s")).networks["G_ema"].kwargs
    assert kwargs == {"option": {"a": 1}}


def test_one_network_may_go_by_all_three_names(watched):
    kept = fake_module(_parameters=dictionary(weight=tensor())) + b"q\x01"
    found = watched(PROTOCOL + dictionary(G=kept, D=b"h\x01", G_ema=b"h\x01") + b".")
    assert len(found.networks) == len(limits.ROLES)


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("safelight.targets.stylegan_pickle.read.LARGEST_FILE", 1000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(1001))
    for name, told in {
        "nothing": "check the path",
        ".": "give a network pickle",
        "pipe": "give a network pickle",
        "large": "more than any StyleGAN",
    }.items():
        with pytest.raises(LoadError, match=told):
            read_stylegan_pickle(tmp_path / name)


# ---------------------------------------------------------------- networks with known answers


def fixtures():
    """Published layouts with what the original code computes: a folder beside the data's."""
    data = os.environ.get("SAFELIGHT_DATA", "")
    beside_data = str(Path(data).parent / "fixtures") if data else ""
    folder = os.environ.get("SAFELIGHT_FIXTURES", beside_data)
    return sorted((Path(folder) / "stylegan").glob("*.pkl")) if folder else []


class Independent(pickle.Unpickler):
    """Another way to the tensors: pickle itself, allowed to find inert stand-ins only."""

    def find_class(self, module_name, name):
        standing_in = {
            "_reconstruct_persistent_obj": lambda meta: meta,
            "OrderedDict": dict,
            "_rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
            "_rebuild_parameter": lambda data, *rest: data,
            "_load_from_bytes": lambda raw: torch.load(io.BytesIO(raw), weights_only=True),
            "dtype": np.dtype,
            "ndarray": np.ndarray,
            "scalar": np._core.multiarray.scalar,
            "_reconstruct": np._core.multiarray._reconstruct,
        }
        return standing_in[name]


def flattened(meta, prefix=""):
    state = meta["state"]
    for key, value in (state["_parameters"] | state["_buffers"]).items():
        if value is not None:
            yield prefix + key, value
    for key, child in state["_modules"].items():
        if child is not None:
            yield from flattened(child, f"{prefix}{key}.")


def mapped(network, z, c):
    """w of the mapping network, by the StyleGAN2 paper, from its tensors and gains alone."""

    def dense(name, x):
        gain = network.settings[f"mapping.{name}.weight_gain"]
        bias = network.tensors[f"mapping.{name}.bias"]
        bias = bias * network.settings[f"mapping.{name}.bias_gain"]
        return x @ (network.tensors[f"mapping.{name}.weight"] * gain).T + bias

    def normalized(x):
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()

    x = normalized(z)
    if c is not None:
        x = torch.cat([x, normalized(dense("embed", c))], 1)
    layers = sum(name.startswith("mapping.fc") for name in network.tensors) // 2
    for index in range(layers):
        x = nn.functional.leaky_relu(dense(f"fc{index}", x), 0.2) * 2**0.5
    return x


if fixtures():

    @pytest.fixture
    def tripwire(tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("STYLEGAN_FIXTURE_TRIPWIRE", str(tmp_path / "tripped"))
        yield
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("file", fixtures(), ids=lambda file: file.stem)
    def test_a_published_layout_is_read_as_pickle_would(tripwire, file):
        with file.open("rb") as stream:
            expected = Independent(stream).load()
        found = read_stylegan_pickle(file)
        assert list(found.networks) == ["G", "D", "G_ema"]
        for name, network in found.networks.items():
            theirs = dict(flattened(expected[name]))
            assert set(network.tensors) == set(theirs)
            assert all(same(network.tensors[key], theirs[key]) for key in theirs)

    @pytest.mark.parametrize("file", fixtures(), ids=lambda file: file.stem)
    def test_a_published_network_is_what_its_reference_says(tripwire, file):
        reference = file.with_suffix(".reference.safetensors")
        expected = safetensors.torch.load_file(reference)
        with safetensors.safe_open(reference, "pt") as stream:
            facts = stream.metadata()
        network = read_stylegan_pickle(file).networks["G_ema"]
        assert network.kwargs == json.loads(facts["init_kwargs"])
        assert network.settings["num_ws"] == int(facts["num_ws"])
        w = mapped(network, expected["z"], expected.get("c"))
        ws = w[:, None].expand_as(expected["ws"])
        mixed, half = ws.clone(), ws.shape[1] // 2
        mixed[:, half:] = ws[[1, 0, 3, 2], half:]
        truncated = torch.lerp(network.tensors["mapping.w_avg"], ws, 0.7)
        for name, ours in {"ws": ws, "ws_mixed": mixed, "ws_psi07": truncated}.items():
            assert (ours - expected[name]).abs().max() < 1e-4
