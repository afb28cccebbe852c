"""The messages and services of the .proto files, by name."""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory

from ghostwire_api_grpc import admin_pb2, control_pb2

FILES = (control_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR)
CONTROL = control_pb2.DESCRIPTOR.services_by_name["Control"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["Admin"]


def kind(name: str) -> Any:
    """The class of a message."""
    found = next(file.message_types_by_name[name] for file in FILES if name in file.message_types_by_name)
    return message_factory.GetMessageClass(found)
