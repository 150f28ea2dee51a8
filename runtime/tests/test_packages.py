"""Tests of snapshots with numpy and pydantic; skipped where the build machine's Python lacks them."""

import unittest

from test_session import SessionCase

import _eryx_session


def setUpModule():
    try:
        import numpy  # noqa: F401
        import pydantic  # noqa: F401
    except ImportError as error:
        raise unittest.SkipTest(str(error)) from None


class Packages(SessionCase):
    def check(self, definitions, expression, expected):
        self.run_code(definitions)
        self.assertEqual(self.run_code(f"print({expression})"), expected + "\n")
        succeeded, data = _eryx_session.snapshot_state()
        self.assertTrue(succeeded, data)
        _eryx_session.clear_state()
        self.assertEqual(_eryx_session.restore_state(data), (True, None))
        self.assertEqual(self.run_code(f"print({expression})"), expected + "\n")

    def test_arrays(self):
        self.check(
            "import numpy as np\na = np.arange(6.0).reshape(2, 3)\nb = a[:, 1]\nr = np.random.default_rng(5)\nu = np.sqrt\n"
            "d = np.dtype([('x', 'i4')])\no = np.array([{'a': 1}, None], dtype=object)",
            "a.sum(), b.tolist(), u(4), d.names, o[0], type(r).__name__, np.float64(1.5)",
            "15.0 [1.0, 4.0] 2.0 ('x',) {'a': 1} Generator 1.5",
        )

    def test_models(self):
        self.check(
            "from pydantic import BaseModel, Field, field_validator, ValidationError, PrivateAttr, computed_field\n"
            "from typing import Optional\n"
            "class Item(BaseModel):\n    name: str\n    tags: list[str] = []\n    price: float = Field(gt=0)\n"
            "    _hidden: int = PrivateAttr(default=3)\n"
            "    @field_validator('name')\n    @classmethod\n    def upper(cls, v): return v.upper()\n"
            "    @computed_field\n    @property\n    def double(self) -> float: return self.price * 2\n"
            "class Order(BaseModel):\n    items: list[Item]\n    parent: Optional['Order'] = None\n"
            "o = Order(items=[Item(name='a', price=2)])\n"
            "def bad():\n    try: Item(name='b', price=-1)\n    except ValidationError as e: return e.error_count()",
            "o, Order.model_validate_json(o.model_dump_json()) == o, bad(), o.items[0].double, o.items[0]._hidden, "
            "sorted(Item.model_fields), Item.model_json_schema()['required'], Item(name='q', price=1).name",
            "items=[Item(name='A', tags=[], price=2.0, double=4.0)] parent=None True 1 4.0 3 ['name', 'price', 'tags'] ['name', 'price'] Q",
        )

    def test_derived_and_generic_models(self):
        self.check(
            "from pydantic import BaseModel, RootModel, ConfigDict, TypeAdapter, model_validator\nfrom typing import Generic, TypeVar, Annotated, Literal, Union\n"
            "T = TypeVar('T')\nclass Base(BaseModel):\n    model_config = ConfigDict(frozen=True)\n    a: int = 1\n"
            "class Sub(Base):\n    b: Literal['x', 'y'] = 'x'\n    @model_validator(mode='after')\n    def ok(self): return self\n"
            "class Box(BaseModel, Generic[T]):\n    v: T\nL = RootModel[list[int]]\nbox = Box[int](v='3')\ns = Sub(a='5')",
            "s, hash(s) == hash(Sub(a=5)), box, isinstance(box, Box), Box[int](v='4'), L([1, '2']), issubclass(Sub, Base)",
            "a=5 b='x' True v=3 True v=4 root=[1, 2] True",
        )


if __name__ == "__main__":
    unittest.main()
