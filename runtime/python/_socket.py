"""Sockets over connections that the embedder makes: takes the place of CPython's `_socket`.

In worlds that do not import `eryx:net/tcp` there are none, and an OSError says so. The embedder resolves names, keeps the
policy of what may be reached, and bounds every timeout; a guest can only connect. So `getaddrinfo` hands a name on as it
is, a socket of timeout 0 waits a millisecond instead of none, and what is for servers and datagrams is refused.
"""

import errno
import math
import os
import warnings

import _eryx

error = OSError
timeout = TimeoutError


class herror(OSError):
    """An address has no name."""


class gaierror(OSError):
    """A name has no address."""


for _class in (herror, gaierror):
    _class.__module__ = "socket"

has_ipv6 = True
CAPI = None
_HAS_NETWORK = _eryx.has_import("eryx:net/tcp#connect")
_NO_NETWORK = "this sandbox has no network"

# The numbers are Linux's.
AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6 = 0, 1, 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_NONBLOCK, SOCK_CLOEXEC = 1, 2, 3, 0o4000, 0o2000000
SOL_SOCKET, SOL_TCP, SOL_UDP, SOL_IP = 1, 6, 17, 0
SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_BROADCAST, SO_SNDBUF, SO_RCVBUF = 2, 3, 4, 6, 7, 8
SO_KEEPALIVE, SO_OOBINLINE, SO_LINGER, SO_REUSEPORT, SO_RCVTIMEO, SO_SNDTIMEO = 9, 10, 13, 15, 20, 21
SOMAXCONN = 4096
IPPROTO_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_RAW = 0, 1, 6, 17, 41, 255
IPV6_V6ONLY = 26
TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT = 1, 4, 5, 6, 18
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2
MSG_OOB, MSG_PEEK, MSG_WAITALL, MSG_DONTWAIT, MSG_NOSIGNAL = 1, 2, 0x100, 0x40, 0x4000
AI_PASSIVE, AI_CANONNAME, AI_NUMERICHOST, AI_V4MAPPED, AI_ALL, AI_ADDRCONFIG, AI_NUMERICSERV = 1, 2, 4, 8, 16, 32, 1024
EAI_BADFLAGS, EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_FAMILY, EAI_SOCKTYPE, EAI_SERVICE = -1, -2, -3, -4, -6, -7, -8
NI_NUMERICHOST, NI_NUMERICSERV, NI_NOFQDN, NI_NAMEREQD, NI_DGRAM = 1, 2, 4, 8, 16
INADDR_ANY, INADDR_LOOPBACK, INADDR_BROADCAST, INADDR_NONE = 0, 0x7F000001, 0xFFFFFFFF, 0xFFFFFFFF

_SERVICES = {
    "ftp": 21, "ssh": 22, "smtp": 25, "domain": 53, "http": 80, "pop3": 110, "nntp": 119, "imap2": 143,
    "ldap": 389, "https": 443, "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995,
}  # fmt: skip
_LONGEST = 2**32 - 1
#: Above every descriptor that the file system hands out.
_FIRST = 1 << 20

_descriptors = {}
_default_timeout = None


class Descriptor:
    """What stands behind a number that `fileno` gives."""

    def __init__(self, family, kind, proto):
        self.family, self.kind, self.proto = family, kind, proto
        self.options = {}
        self.peer = None
        #: The interface that has the connection, and its handle there.
        self.layer, self.handle = "tcp", None
        self.reads = self.writes = True

    def call(self, function, *arguments):
        """Calls a function of the layer on the connection."""
        if self.handle is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return call(self.layer, function, self.handle, *arguments)

    def upgrade(self, host, seconds):
        """Puts TLS over the connection, which is lost if that fails."""
        handle, self.handle = self.handle, None
        if handle is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self.handle = call("tls", "upgrade", handle, host, milliseconds(seconds))
        self.layer = "tls"

    def disconnect(self):
        """Ends the connection if there is one."""
        handle, self.handle = self.handle, None
        if handle is not None:
            _eryx.call(f"eryx:net/{self.layer}#close", handle)


def call(layer, function, *arguments):
    """Calls a function of `eryx:net`; its error becomes an exception."""
    if not _HAS_NETWORK:
        raise OSError(errno.ENETUNREACH, _NO_NETWORK)
    succeeded, value = _eryx.call(f"eryx:net/{layer}#{function}", *arguments)
    if succeeded:
        return value
    if layer == "tls" and value[0] not in ("tcp", "invalid-handle"):
        import _ssl

        raise _ssl.exception(*value)
    raise _exception(*(value[1] if value[0] == "tcp" else value))


def _exception(case, message):
    number = {
        "connection-refused": errno.ECONNREFUSED,
        "connection-reset": errno.ECONNRESET,
        "invalid-handle": errno.EBADF,
    }.get(case)
    if number is not None:
        return OSError(number, os.strerror(number))
    if case == "timed-out":
        return TimeoutError("timed out")
    if case == "host-not-found":
        return gaierror(EAI_NONAME, "Name or service not known")
    if case == "not-permitted":
        return PermissionError(errno.EACCES, f"not permitted: {message}")
    if "close_notify" in message:
        import _ssl

        return _ssl.SSLEOFError(_ssl.SSL_ERROR_EOF, message)
    return OSError(errno.EIO, message)


def milliseconds(seconds):
    """A timeout as the embedder takes it; 0 stands for its own."""
    return 0 if seconds is None else min(max(1, math.ceil(seconds * 1000)), _LONGEST)


def _unsupported(*_, **__):
    raise OSError(errno.EOPNOTSUPP, "the embedder offers connections only")


class socket:
    """A client's end of a TCP connection."""

    # The library's class adds a weak reference's slot, which a base with a dict has already.
    __slots__ = ("_number", "_timeout")

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        if fileno is not None:
            if fileno not in _descriptors:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._number = fileno
        else:
            family, type = int(AF_INET if family == -1 else family), int(SOCK_STREAM if type == -1 else type)
            type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC)
            if family not in (AF_INET, AF_INET6):
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            if type != SOCK_STREAM:
                raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
            self._number = max(_descriptors, default=_FIRST - 1) + 1
            _descriptors[self._number] = Descriptor(family, type, max(proto, 0))
        self._timeout = _default_timeout

    def __del__(self):
        if getattr(self, "_number", -1) in _descriptors:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            socket.close(self)

    @property
    def _descriptor(self):
        try:
            return _descriptors[self._number]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    family = property(lambda self: self._described.family, doc="the address family")
    type = property(lambda self: self._described.kind, doc="the kind of socket")
    proto = property(lambda self: self._described.proto, doc="the protocol")
    timeout = property(lambda self: self._timeout, doc="the timeout in seconds, or None")

    @property
    def _described(self):
        return _descriptors.get(self._number) or _CLOSED

    def fileno(self):
        """The descriptor's number; -1 once it is closed."""
        return self._number

    def detach(self):
        """Gives the descriptor up without closing it."""
        number, self._number = self._number, -1
        return number

    def close(self):
        """Ends the connection."""
        descriptor = _descriptors.pop(self.detach(), None)
        if descriptor is not None:
            descriptor.disconnect()

    def connect(self, address):
        """Connects to `(host, port)`; the embedder resolves the host."""
        host, port = _checked(address)
        descriptor = self._descriptor
        if descriptor.handle is not None:
            raise OSError(errno.EISCONN, os.strerror(errno.EISCONN))
        # There is no connecting in the background.
        descriptor.handle = call("tcp", "connect", host, port, milliseconds(self._timeout or None))
        descriptor.peer = (host, port) if descriptor.family == AF_INET else (host, port, 0, 0)

    def connect_ex(self, address):
        """As `connect`, but returns the error's number."""
        try:
            self.connect(address)
        except OSError as error:
            if error.errno is None or error.errno < 0:
                raise
            return error.errno
        return 0

    def recv(self, size, flags=0):
        """Receives at most `size` bytes; none at the end."""
        if size < 0:
            raise ValueError("negative buffersize in recv")
        self._check_flags(flags)
        descriptor = self._descriptor
        if not descriptor.reads or (size == 0 and descriptor.handle is not None):
            return b""
        return self._waiting(descriptor.call, "read", min(size, _LONGEST), milliseconds(self._timeout))

    def recv_into(self, buffer, nbytes=0, flags=0):
        """Receives into a buffer; returns the number of bytes."""
        with memoryview(buffer) as view, view.cast("B") as target:
            data = self.recv(min(nbytes or len(target), len(target)), flags)
            target[: len(data)] = data
        return len(data)

    def recvfrom(self, size, flags=0):
        """Receives bytes, with None for the address, as TCP does."""
        return self.recv(size, flags), None

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        """Receives into a buffer, with None for the address, as TCP does."""
        return self.recv_into(buffer, nbytes, flags), None

    def send(self, data, flags=0):
        """Sends bytes; returns how many were."""
        self._check_flags(flags)
        data = memoryview(data).tobytes()
        descriptor = self._descriptor
        if not descriptor.writes:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        return self._waiting(descriptor.call, "write", milliseconds(self._timeout), data) if data else 0

    def sendall(self, data, flags=0):
        """Sends all bytes."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view, flags) :]

    def sendto(self, data, *flags_and_address):
        """Sends bytes on a connection; another address cannot be given."""
        if self._descriptor.handle is None:
            _unsupported()
        return self.send(data)

    def _waiting(self, function, *arguments):
        try:
            return function(*arguments)
        except TimeoutError:
            if self._timeout == 0:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise

    @staticmethod
    def _check_flags(flags):
        if flags & ~MSG_NOSIGNAL:
            raise OSError(errno.EOPNOTSUPP, "the embedder's connections know no flags")

    def shutdown(self, how):
        """Ends both directions or reading; the embedder cannot end writing alone."""
        descriptor = self._descriptor
        if descriptor.handle is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        if how == SHUT_WR:
            raise OSError(errno.EOPNOTSUPP, "the embedder cannot end one direction of a connection")
        descriptor.reads = False
        if how == SHUT_RDWR:
            descriptor.writes = False
            descriptor.disconnect()

    def getpeername(self):
        """The address that the socket is connected to."""
        descriptor = self._descriptor
        if descriptor.handle is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return descriptor.peer

    def getsockname(self):
        """An address of no meaning: ours is not known."""
        return ("0.0.0.0", 0) if self._descriptor.family == AF_INET else ("::", 0, 0, 0)

    def getsockopt(self, level, option, buflen=0):
        """What was set, or 0."""
        descriptor = self._descriptor
        if level == SOL_SOCKET and option == SO_TYPE:
            return descriptor.kind
        value = descriptor.options.get((level, option), 0)
        return value.to_bytes(4, "little")[:buflen] if buflen and isinstance(value, int) else value

    def setsockopt(self, level, option, value, optlen=None):
        """Remembers an option; none has an effect."""
        self._descriptor.options[level, option] = value

    def settimeout(self, seconds):
        """Sets the timeout of each call, in seconds; the embedder may have a shorter one."""
        self._timeout = _checked_timeout(seconds)

    def gettimeout(self):
        """The timeout in seconds, or None."""
        return self._timeout

    def setblocking(self, blocking):
        """Chooses between no timeout and a timeout of 0."""
        self._timeout = None if blocking else 0.0

    def getblocking(self):
        """Whether the timeout is another one than 0."""
        return self._timeout != 0

    accept = _accept = bind = listen = _unsupported


SocketType = socket
_CLOSED = Descriptor(AF_INET, SOCK_STREAM, 0)


def _checked(address):
    if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
        raise TypeError(f"an address must be a tuple of host and port, not {address!r}")
    host, port = address[:2]
    if not isinstance(port, int):
        raise TypeError(f"a port must be an int, not {type(port).__name__}")
    if not 0 <= port <= 65535:
        raise OverflowError("connect(): port must be 0-65535.")
    return _host(host), port


def _host(host):
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii")
    if not isinstance(host, str):
        raise TypeError(f"a host must be a str, not {type(host).__name__}")
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _checked_timeout(seconds):
    if seconds is None:
        return None
    seconds = float(seconds)
    if not seconds >= 0:
        raise ValueError("Timeout value out of range")
    return seconds


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    """The host as it is, which the embedder resolves when it connects."""
    host = "127.0.0.1" if host is None else _host(host)
    if isinstance(port, (str, bytes)):
        port = port if isinstance(port, str) else port.decode("ascii")
        port = int(port) if port.isdecimal() else getservbyname(port)
    if type not in (0, SOCK_STREAM):
        return []
    port = port or 0
    found = AF_INET6 if ":" in host else AF_INET
    if family not in (0, found):
        raise gaierror(EAI_FAMILY, "Address family for hostname not supported")
    if not _HAS_NETWORK:
        _refuse_name(host, found)
    address = (host, port) if found == AF_INET else (host, port, 0, 0)
    return [(found, SOCK_STREAM, IPPROTO_TCP, host if flags & AI_CANONNAME else "", address)]


def _refuse_name(host, family):
    """Raises an error for a name that nobody will resolve."""
    try:
        inet_pton(family, host)
    except OSError:
        if host != "localhost":
            raise gaierror(EAI_AGAIN, f"{_NO_NETWORK} that knows the name {host!r}") from None


def getnameinfo(address, flags):
    """The address as it is."""
    host, port = _checked(address)
    return host, str(port)


def gethostbyname(name):
    """An address as it is; a name is resolved by the embedder alone, when it connects."""
    try:
        inet_aton(name)
    except OSError:
        raise gaierror(EAI_FAIL, "the embedder resolves names only to connect to them") from None
    return name


def gethostbyaddr(address):
    """Addresses have no names here."""
    raise herror(1, "Unknown host")


def gethostname():
    """A name of no meaning."""
    return "localhost"


def getservbyname(name, protocol="tcp"):
    """The port of a well-known service."""
    try:
        return _SERVICES[name]
    except KeyError:
        raise OSError("service/proto not found") from None


def getservbyport(port, protocol="tcp"):
    """The name of a well-known service."""
    for name, number in _SERVICES.items():
        if number == port:
            return name
    raise OSError("port/proto not found")


def getprotobyname(name):
    """The number of a protocol."""
    try:
        return {"icmp": IPPROTO_ICMP, "tcp": IPPROTO_TCP, "udp": IPPROTO_UDP}[name]
    except KeyError:
        raise OSError("protocol not found") from None


def getdefaulttimeout():
    """The timeout of new sockets."""
    return _default_timeout


def setdefaulttimeout(seconds):
    """Sets the timeout of new sockets."""
    global _default_timeout
    _default_timeout = _checked_timeout(seconds)


def inet_pton(family, text):
    """An address as bytes."""
    import ipaddress

    address = {AF_INET: ipaddress.IPv4Address, AF_INET6: ipaddress.IPv6Address}.get(family)
    if address is None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    try:
        return address(text).packed
    except ValueError:
        raise OSError("illegal IP address string passed to inet_pton") from None


def inet_ntop(family, packed):
    """An address of bytes as text."""
    import ipaddress

    sizes = {AF_INET: (4, ipaddress.IPv4Address), AF_INET6: (16, ipaddress.IPv6Address)}
    if family not in sizes:
        raise ValueError(f"unknown address family {family}")
    size, address = sizes[family]
    if len(packed) != size:
        raise ValueError("invalid length of packed IP address string")
    return str(address(bytes(packed)))


def inet_aton(text):
    """An IPv4 address as bytes."""
    try:
        return inet_pton(AF_INET, text)
    except OSError:
        raise OSError("illegal IP address string passed to inet_aton") from None


def inet_ntoa(packed):
    """An IPv4 address of bytes as text."""
    return inet_ntop(AF_INET, packed)


def _swapped(size):
    def swap(value):
        if not 0 <= value < 1 << (8 * size):
            raise OverflowError(f"expected an unsigned integer of {8 * size} bits")
        return int.from_bytes(value.to_bytes(size, "little"), "big")

    return swap


htons = ntohs = _swapped(2)
htonl = ntohl = _swapped(4)


def close(number):
    """Closes a descriptor."""
    descriptor = _descriptors.pop(number, None)
    if descriptor is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    descriptor.disconnect()


def dup(number):
    """Two descriptors for one connection are not to be had."""
    _unsupported()


def descriptor(number):
    """What stands behind a number; for `_ssl`."""
    return _descriptors[number]
