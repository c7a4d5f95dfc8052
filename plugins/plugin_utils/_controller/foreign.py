# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""What a host, a server or a client sent, on its way from a plugin to Ansible: every plugin hands it out through here.

A text that somebody else wrote is never a template. ansible-core 2.19 and newer take only texts for templates that were
marked as such, and a plain text is not; ansible-core 2.18 takes every text for one that is not marked as unsafe.
"""

from __future__ import annotations

import typing as t

from ansible import template
from ansible.plugins.action import ActionBase
from ansible_collections.pgtandem.replication.plugins.module_utils._values.results import clean_result, clean_texts

#: From 2.19 on only a text that is trusted is a template.
_EVERY_TEXT_IS_A_TEMPLATE = not hasattr(template, "trust_as_template")

#: Keys of a result by which a module would change the variables or the inventory of a run.
_STEERING = ("add_group", "add_host", "ansible_facts", "ansible_stats")


def foreign(value: t.Any) -> t.Any:
    """A value with every text in it cleaned, and never a template."""
    plain = clean_texts(value)
    return _marked(plain) if _EVERY_TEXT_IS_A_TEMPLATE else plain


def _marked(value: t.Any) -> t.Any:
    """The value with its texts marked as unsafe, for ansible-core 2.18; keys are no templates there."""
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, str):
        # Not at the top: newer versions are to take it away.
        from ansible.utils.unsafe_proxy import wrap_var

        return wrap_var(value)
    return value


def foreign_result(result: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The result of a task likewise, without what only the controller may decide."""
    kept = {key: value for key, value in result.items() if key not in _STEERING}
    return t.cast("dict[str, t.Any]", foreign(clean_result(kept)))


#: Options of modules that callback plugins must not be given; a test compares them with C(no_log).
SECRET_OPTIONS = frozenset(
    {
        "login_password",
        "password",
        "replication_password",
        "source_password",
        "tls_client_key",
        "tls_key",
        "upstream_password",
    }
)
#: Ansible's own word for it.
_HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"


class ForeignActionBase(ActionBase):
    """The base of all action plugins here: what `act` returns leaves through `foreign_result`.

    Ansible hands the arguments of a task to callback plugins, as they are once it has run, and C(no_log) of a module's
    option is nothing to those of other projects. So the secrets among them are gone by then.
    """

    _given: dict[str, t.Any] | None = None
    #: A group of the inventory that the task's host is put into.
    group: str | None = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """What Ansible calls; `act` is what a plugin has."""
        # A task that is tried again is run by the same plugin.
        given = self._given = self._task.args if self._given is None else self._given
        self._task.args = given
        try:
            result: dict[str, t.Any] = super().run(tmp, task_vars)
            cleaned = foreign_result({**result, **self.act(task_vars or {})})
            # As of ansible.builtin.group_by; the name is the collection's own.
            return {**cleaned, "add_group": self.group, "parent_groups": ["all"]} if self.group else cleaned
        finally:
            self._task.args = {
                name: _HIDDEN if name in SECRET_OPTIONS and value else value for name, value in given.items()
            }

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Do the work; the keys of the result."""
        raise NotImplementedError


class SecretsActionBase(ForeignActionBase):
    """A module that runs on the host as it is, and whose secrets stay away from callback plugins."""

    _requires_connection = True
    _supports_check_mode = True
    _supports_async = True

    def act(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run it as Ansible does where a module has no action plugin."""
        wrapped = bool(self._task.async_val) and not self._connection.has_native_async
        return t.cast("dict[str, t.Any]", self._execute_module(task_vars=task_vars, wrap_async=wrapped))
