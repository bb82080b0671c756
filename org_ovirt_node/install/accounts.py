"""Groups, users, root's password and SSH keys, by the image's own tools."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from org_ovirt_node.errors import NodeError
from org_ovirt_node.i18n import _
from org_ovirt_node.inside import inside, place_for_file
from org_ovirt_node.kickstart.model import SshKeyRequest, SystemRequest, UserRequest
from org_ovirt_node.run import run


def configure(root: Path, request: SystemRequest, *, again: bool = False) -> None:
    """Make what the kickstart asks for.  No password is ever an argument of a program.

    With ``again`` this may have been done before, in whole or in part: a group or user that is there is no error.
    """
    for group in request.groups:
        if again and group.name in _names(root, "group"):
            continue
        argv = ["groupadd", *(["--gid", str(group.gid)] if group.gid is not None else []), group.name]
        run(argv, root=root)
    for user in request.users:
        _add(root, user, again)
    accounts = [user for user in (request.root, *request.users) if user is not None]
    for encrypted in (True, False):
        _passwords(root, [user for user in accounts if user.password and user.encrypted is encrypted], encrypted)
    for user in accounts:
        if user.locked:
            run(["usermod", "--lock", user.name], root=root)
    for key in request.sshkeys:
        _authorize(root, key)


def _names(root: Path, database: str) -> set[str]:
    path = root / "etc" / database
    return {line.split(":", 1)[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines()}


def _add(root: Path, user: UserRequest, again: bool) -> None:
    if again and user.name in _names(root, "passwd"):
        if user.groups:
            run(["usermod", "--append", "--groups", ",".join(user.groups), user.name], root=root)
        return
    if user.name in _names(root, "passwd"):
        raise NodeError(
            _("the kickstart's user {name} exists in the image already").format(name=user.name),
            hint=_("Choose another name, or give it an SSH key with 'sshkey'."),
        )
    known = _names(root, "group")
    for group in user.groups:
        if group not in known:
            run(["groupadd", group], root=root)
    argv = ["useradd", "--create-home"]
    for option, value in (
        ("--uid", user.uid),
        ("--gid", user.gid),
        ("--home-dir", user.home),
        ("--shell", user.shell or "/bin/bash"),
        ("--comment", user.gecos),
        ("--groups", ",".join(user.groups)),
    ):
        if value not in (None, ""):
            argv += [option, str(value)]
    if user.gid is not None:
        run(["groupadd", "--force", "--gid", str(user.gid), user.name], root=root)
    run([*argv, user.name], root=root)


def _passwords(root: Path, users: list[UserRequest], encrypted: bool) -> None:
    if not users:
        return
    lines = "".join(f"{user.name}:{user.password}\n" for user in users)
    run(
        ["chpasswd", *(["--encrypted"] if encrypted else [])],
        root=root,
        input=lines,
        secrets=[user.password for user in users],
        hint=_("See 'rootpw' and 'user' in the kickstart."),
    )


def _authorize(root: Path, key: SshKeyRequest) -> None:
    entry = _entry(root, key.user)
    folder = inside(root, f"{entry.pw_dir}/.ssh")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = place_for_file(root, f"{entry.pw_dir}/.ssh/authorized_keys")
    line = key.key.rstrip("\n")
    if not file.is_file() or line not in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{line}\n")
    file.chmod(0o600)
    for path in (folder, file):
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _entry(root: Path, name: str) -> pwd.struct_passwd:
    for line in inside(root, "etc/passwd").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[0] == name:
            return pwd.struct_passwd((name, fields[1], int(fields[2]), int(fields[3]), *fields[4:]))
    raise NodeError(
        _("'sshkey' names the user {name}, who is neither in the image nor in the kickstart").format(name=name),
        hint=_("Add a 'user' line for it."),
    )
