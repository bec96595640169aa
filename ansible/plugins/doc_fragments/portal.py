# Copyright: the Millwright developers
# SPDX-License-Identifier: Apache-2.0
"""How modules reach the portal, described once."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module."""

    DOCUMENTATION = r"""
options:
  url:
    description: Base address of the portal.
    type: str
    required: true
  token:
    description: API token of scope C(write). Better in a file.
    type: str
  token_file:
    description: File with the token, on the machine where the module runs.
    type: path
  ca_path:
    description: Certificate of the plant's authority; the system's authorities without it.
    type: path
  timeout_s:
    description: Longest wait for one answer.
    type: int
    default: 30
"""
