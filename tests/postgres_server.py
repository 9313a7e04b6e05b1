"""A PostgreSQL server of the tests' own: in a folder that is deleted, on a free port of this machine alone."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

_SETTINGS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": "60"}


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, of the newest version; None where there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


class PostgresServer:
    """A server with one superuser, who needs no password.

    Args:
        programs: the folder of PostgreSQL's programs.

    Attributes:
        port: where it listens, at 127.0.0.1.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="gradlab-postgres-"))
        # It refuses to run as root.
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            other = pwd.getpwnam("postgres")
            os.chown(self._folder, other.pw_uid, other.pw_gid)
            self._user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        try:
            self._run("initdb", "-D", "data", "-U", "gradlab", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": f"'{self._folder}'"}
            with (self._folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
                file.writelines(f"{name} = {value}\n" for name, value in settings.items())
            self.start()
        except BaseException:
            self.close()
            raise

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"lab_{uuid4().hex[:12]}"
        self.run_sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str, user: str = "gradlab") -> str:
        """The URL of a database, whether it is there or not."""
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def run_sql(self, command: str, database: str = "postgres") -> None:
        """Runs a command as the superuser."""
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user=gradlab dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(command)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-t", "120", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stops it; ``immediate`` is what a crash is to those who are connected."""
        self._run("pg_ctl", "-D", "data", "-w", "-t", "120", "-m", mode, "stop")

    def close(self) -> None:
        """Stops it for good."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # To files: the server would keep a pipe open.
        with (self._folder / "said").open("w+", encoding="utf-8") as said:
            command = [str(self._programs / program), *arguments]
            ended = subprocess.run(
                command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, **self._user
            )
            said.seek(0)
            assert ended.returncode == 0, f"{program}: {said.read()}"
