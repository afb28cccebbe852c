"""A filter of system calls as a classic BPF program (kernel's filter.h and seccomp.h): a rule a call, assembled."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000

_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_AND: Final = 0x54
_JUMP: Final = 0x05
_RETURN: Final = 0x06
_INSTRUCTION: Final = struct.Struct("=HBBI")
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data, whose arguments are little-endian and 8 bytes each."""
_MACHINES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000


def refuse(number: int) -> int:
    """The action that fails a call with this errno."""
    return 0x00050000 | number


class Test(NamedTuple):
    """About the low 32 bits of an argument: ``argument & mask`` is one of ``values``, or is none of them."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    among: bool = True


class Rule(NamedTuple):
    """A call of this number whose arguments pass every test gets ``action``; another is for the rules below."""

    number: int
    action: int
    tests: tuple[Test, ...] = ()


def assemble(machine: str, rules: Iterable[Rule], default: int) -> bytes:
    """The program; calls made as another processor's (int 0x80, x32) end the process."""
    code = [
        _INSTRUCTION.pack(_LOAD, 0, 0, _MACHINE),
        _INSTRUCTION.pack(_EQUAL, 1, 0, _MACHINES[machine]),
        _return(KILL),
        _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [_INSTRUCTION.pack(_AT_LEAST, 0, 1, _X32), _return(KILL)]
    for rule in rules:
        body = _body(rule)
        code += [_INSTRUCTION.pack(_EQUAL, 0, len(body), rule.number), *body]
    return b"".join([*code, _return(default)])


def _body(rule: Rule) -> list[bytes]:
    """What follows once the number is the rule's: ends with the action, or behind it with the number loaded again."""
    code = [_return(rule.action)]
    if rule.tests:
        code.append(_INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER))
    for test in reversed(rule.tests):
        code = _test(test, len(code) - 1) + code
    return code


def _test(test: Test, further: int) -> list[bytes]:
    """Falls through where it passes, and else goes ``further``; the accumulator loses the call's number."""
    code = [
        _INSTRUCTION.pack(_LOAD, 0, 0, _ARGUMENTS + 8 * test.argument),
        _INSTRUCTION.pack(_AND, 0, 0, test.mask),
    ]
    for index, value in enumerate(test.values):
        failing = len(test.values) - index - 1 + (not test.among)
        code.append(_INSTRUCTION.pack(_EQUAL, failing + test.among, 0, value))
    return [*code, *([] if test.among else [_jump(1)]), _jump(further)]


def _jump(over: int) -> bytes:
    return _INSTRUCTION.pack(_JUMP, 0, 0, over)


def _return(action: int) -> bytes:
    return _INSTRUCTION.pack(_RETURN, 0, 0, action)
