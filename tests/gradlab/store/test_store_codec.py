"""Labelled arrays come back as they went in."""

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradlab.errors import GradlabError
from gradlab.store.codec import decode, encode

DTYPES = ["?", "<i1", "<u2", "<i8", "<f2", "<f4", "<f8", ">f4", ">i8", "<c8", "<c16", "<U7", "S5", "<M8[ns]", "<m8[s]"]


def same(array: xr.DataArray, name: str = "a") -> xr.DataArray:
    back = decode(encode(name, array))
    xr.testing.assert_identical(back, array)
    assert back.dtype == array.dtype
    assert list(back.coords) == list(array.coords)
    for key in array.coords:
        assert back[key].dtype == array[key].dtype
        assert (key in back.indexes) == (key in array.indexes)
    return back


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 1, 90)])
def test_every_dtype_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    numbers = np.random.default_rng(0).integers(0, 100, shape)
    values = np.asarray(numbers).astype(dtype)
    back = same(xr.DataArray(values, dims=[f"d{i}" for i in range(len(shape))]))
    assert back.values.tobytes() == values.tobytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_values_and_coordinates(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=20))
    values = data.draw(hnp.arrays(st.sampled_from([np.float32, np.float64, np.int16, np.bool_]), shape))
    dims = [f"d{i}" for i in range(len(shape))]
    kinds = st.sampled_from(["<f4", "<f8", "<i8", "?"])
    coords = {
        dim: (dim, data.draw(hnp.arrays(data.draw(kinds), size)))
        for dim, size in zip(dims, shape, strict=True)
        if data.draw(st.booleans())
    }
    same(xr.DataArray(values, dims=dims, coords=coords))


def test_labels_of_every_sort() -> None:
    array = xr.DataArray(
        np.zeros((2, 3), "f4"),
        dims=("critic", "x"),
        name="Q",
        coords={
            "critic": ["q1", "zweite"],
            "x": ("x", np.array([-0.1, np.nan, np.inf], "f4"), {"units": "N m"}),
            "words": ("x", np.array(["a", "bc", "d"], dtype=object)),
            "bytes": ("x", np.array([b"a", b"bc", b""])),
            "when": ("critic", np.array(["2024-01-01", "NaT"], "M8[ns]")),
            "complex": ("critic", np.array([1j, np.nan])),
            "grid": (("critic", "x"), np.arange(6).reshape(2, 3)),
            "state": 7,
            "flag": np.bool_(True),
        },
        attrs={
            "low": [-1.0, -0.5],
            "what": "values",
            "n": 3,
            "none": None,
            "deep": {"a": [1, {"b": True}]},
            "inf": np.inf,
        },
    )
    same(array, "another name")


def test_numbers_of_numpy_in_attributes_become_plain() -> None:
    back = decode(encode("a", xr.DataArray(0.0, attrs={"n": np.int32(3), "low": (np.float32(0.5), 1)})))
    assert back.attrs == {"n": 3, "low": [0.5, 1]}


def test_a_view_is_stored_in_its_own_order() -> None:
    base = np.arange(4000, dtype="f4").reshape(40, 100)
    for view in (base.T, base[::2, ::-3], np.asfortranarray(base)):
        same(xr.DataArray(view, dims=("a", "b")))


def test_what_comes_back_may_be_written_to() -> None:
    for size in (3, 3000):
        back = decode(encode("a", xr.DataArray(np.zeros(size), dims="x")))
        back[0] = 1.0
        assert back[0] == 1.0


def test_compression_where_it_pays() -> None:
    smooth = encode("a", xr.DataArray(np.zeros((100, 100)), dims=("x", "y")))
    noise = encode("a", xr.DataArray(np.random.default_rng(0).integers(0, 2**63, 10_000), dims="x"))
    assert smooth["codec"] == "shuffle-zlib"
    assert len(smooth["data"]) < 1000
    assert noise["codec"] == "raw"
    assert len(noise["data"]) == 80_000


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "is a ndarray"),
        (xr.DataArray(np.array([{}, []], dtype=object), dims="x"), "dtype object"),
        (xr.DataArray(np.array(["a", 1], dtype=object), dims="x"), "dtype object"),
        (
            xr.DataArray([1.0], dims="x", coords={"x": np.array([None], dtype=object)}),
            "coordinate 'x': has dtype object",
        ),
        (xr.DataArray([1.0], dims="x", attrs={"f": open}), "attribute"),
        (xr.DataArray([1.0], dims="x", attrs={"f": np.zeros(2)}), "a ndarray"),
        (xr.DataArray([1.0], dims="x", attrs={3: 1}), "3 is used as a name"),
        (xr.DataArray([1.0], dims=[3]), "3 is used as a name"),
        (xr.DataArray([1.0], dims="x", name=3), "named 3"),
    ],
)
def test_what_cannot_be_stored_is_refused(array: xr.DataArray, message: str) -> None:
    with pytest.raises(GradlabError, match=message) as caught:
        encode("q", array)
    assert "array 'q'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [{"data": b"xx"}, {"codec": "lz77"}, {"shape": "[7]"}, {"codec": "raw"}],
)
def test_damage_is_noticed(damage: dict[str, object]) -> None:
    row = encode("q", xr.DataArray(np.zeros(1000, "f4"), dims="x"))
    assert json.loads(row["shape"]) == [1000]
    with pytest.raises(GradlabError, match="damaged"):
        decode(row | damage)
