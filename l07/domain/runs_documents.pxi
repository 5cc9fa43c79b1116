# Part of runs.pyx: what the digests are of. What is said is written once, for `content`; `exact` and `deeds` copy it from there.

cdef enum:
    MOST = 256  # messages of a run, and calls; where one has more, Python writes

cdef struct Span:
    Py_ssize_t start, end

cdef struct Call:
    PyObject* name
    Span function, arguments
    bint written  # whether the call has arguments
    bint as_text
    bint floats  # among them: those are written in another way where numbers are compared

cdef struct Said:
    int turns, calls
    bint odd  # one is no call as it should be
    Span[MOST] content
    int[MOST] until  # which calls are those of a message, up to here
    Call[MOST] call


def documents(tuple body, messages):
    """What the digests content, exact and deeds are of, as bytes, and how many characters the arguments of the deeds have;
    None: not sure."""
    cdef Out out
    cdef Said said
    cdef tuple turns = _turns(messages)
    cdef Py_ssize_t content, exact, characters
    if turns is None or len(turns) > MOST:
        return None
    said.turns, said.calls, said.odd = 0, 0, False
    _open(&out)
    try:
        if not _put_body(&out, body, messages, turns, &said) or said.odd:
            return None
        content = out.size
        if not _put_without_ids(&out, turns, &said):
            return None
        exact = out.size
        characters = _put_deeds(&out, turns, &said)
        if characters < 0:
            return None
        return (
            PyBytes_FromStringAndSize(out.at, content),
            PyBytes_FromStringAndSize(out.at + content, exact - content),
            PyBytes_FromStringAndSize(out.at + exact, out.size - exact),
            characters,
        )
    except UnicodeEncodeError:
        return None
    finally:
        _close(&out)


cdef int _put_body(Out* out, tuple body, messages, tuple turns, Said* said) except -1:
    cdef bint first = True, told = False
    _put_char(out, c'[')
    for item in body:
        if not first:
            _put_char(out, c',')
        first = False
        if item is messages and not told:
            told = True
            if not _put_turns(out, turns, said):
                return 0
        elif not _put(out, item, False, LEVELS - 1):
            return 0
    said.odd = said.odd or not told
    return _put_char(out, c']')


cdef int _put_turns(Out* out, tuple turns, Said* said) except -1:
    cdef Entry entries[NAMES]
    cdef int count, n
    cdef dict message
    _put_char(out, c'[')
    for message in turns:
        if said.turns:
            _put_char(out, c',')
        count = _sorted(message, entries)
        if count < 0:
            return 0
        said.content[said.turns].start = -1
        _put_char(out, c'{')
        for n in range(count):
            _put_name(out, &entries[n], n)
            value = <object>entries[n].value
            if _is(&entries[n], "content", 7):
                said.content[said.turns].start = out.size
                if not _put(out, value, False, LEVELS - 3):
                    return 0
                said.content[said.turns].end = out.size
            elif _is(&entries[n], "tool_calls", 10) and value is not None:
                if not _put_calls_said(out, value, said):
                    return 0
            elif not _put(out, value, False, LEVELS - 3):
                return 0
        _put_char(out, c'}')
        said.until[said.turns] = said.calls
        said.turns += 1
    return _put_char(out, c']')


cdef int _put_calls_said(Out* out, calls, Said* said) except -1:
    cdef Entry entries[NAMES]
    cdef bint first = True, there
    cdef int count, n
    if type(calls) is not list and type(calls) is not tuple:
        return 0
    _put_char(out, c'[')
    for call in calls:
        if not first:
            _put_char(out, c',')
        first, there = False, False
        count = _sorted(<dict>call, entries) if type(call) is dict else -1
        if count < 0 or said.calls == MOST:
            return 0
        _put_char(out, c'{')
        for n in range(count):
            _put_name(out, &entries[n], n)
            if _is(&entries[n], "function", 8):
                there = True
                if not _put_function(out, <object>entries[n].value, &said.call[said.calls]):
                    return 0
            elif not _put(out, <object>entries[n].value, False, LEVELS - 5):
                return 0
        _put_char(out, c'}')
        said.calls += 1
        said.odd = said.odd or not there
    return _put_char(out, c']')


cdef int _put_function(Out* out, function, Call* call) except -1:
    global _floats
    cdef Entry entries[NAMES]
    cdef int count = _sorted(<dict>function, entries) if type(function) is dict else -1
    cdef int n
    if count < 0:
        return 0
    call.name, call.written, call.as_text, call.function.start = NULL, False, False, out.size
    _put_char(out, c'{')
    for n in range(count):
        _put_name(out, &entries[n], n)
        value = <object>entries[n].value
        if _is(&entries[n], "name", 4):
            if type(value) is not str:
                return 0
            call.name = entries[n].value
        if _is(&entries[n], "arguments", 9):
            _floats = False
            call.written, call.as_text, call.arguments.start = True, type(value) is str, out.size
            if not _put(out, value, False, LEVELS - 6):
                return 0
            call.arguments.end, call.floats = out.size, _floats
        elif not _put(out, value, False, LEVELS - 6):
            return 0
    _put_char(out, c'}')
    call.function.end = out.size
    return call.name != NULL


cdef inline bint _is(Entry* entry, const char* name, Py_ssize_t size) noexcept:
    return entry.size == size and memcmp(entry.name, name, size) == 0


cdef inline int _put_again(Out* out, Span* span) except -1:
    """What was written there before."""
    cdef Py_ssize_t size = span.end - span.start
    if out.room - out.size < size:
        _grow(out, size)
    memcpy(out.at + out.size, out.at + span.start, size)
    out.size += size
    return 1


cdef int _put_without_ids(Out* out, tuple turns, Said* said) except -1:
    cdef int turn, call = 0
    cdef dict message
    _put_char(out, c'[')
    for turn in range(said.turns):
        message = turns[turn]
        _put_bytes(out, ",[" if turn else "[", 2 if turn else 1)
        if not _put(out, message.get("role"), False, LEVELS):
            return 0
        _put_char(out, c',')
        if said.content[turn].start < 0:
            _put_bytes(out, "null", 4)
        else:
            _put_again(out, &said.content[turn])
        _put_bytes(out, ",[", 2)
        while call < said.until[turn]:
            _put_again(out, &said.call[call].function)
            call += 1
            if call < said.until[turn]:
                _put_char(out, c',')
        _put_bytes(out, "],", 2)
        if not _put(out, message.get("name"), False, LEVELS):
            return 0
        _put_char(out, c']')
    return _put_char(out, c']')


cdef Py_ssize_t _put_deeds(Out* out, tuple turns, Said* said) except -2:
    """-1: not sure."""
    cdef Out arguments
    cdef Py_ssize_t characters = 0
    cdef bint first = True
    cdef int turn, n = 0
    cdef Call* call
    _open(&arguments)
    try:
        _put_char(out, c'[')
        for turn in range(said.turns):
            if n == said.until[turn] or (<dict>turns[turn]).get("role") != "assistant":
                n = said.until[turn]
                continue
            while n < said.until[turn]:
                call = &said.call[n]
                n += 1
                arguments.size = 0
                if call.as_text:
                    return -1
                if not call.written:
                    _put_bytes(&arguments, "null", 4)
                elif not call.floats:
                    _put_bytes(&arguments, out.at + call.arguments.start, call.arguments.end - call.arguments.start)
                elif not _put(&arguments, _arguments_of(<dict>turns[turn], n - (said.until[turn - 1] if turn else 0)), True, LEVELS):
                    return -1
                _put_bytes(out, "[" if first else ",[", 1 if first else 2)
                first = False
                _put_text(out, <object>call.name)
                _put_char(out, c',')
                _put_escaped(out, arguments.at, arguments.size)
                _put_char(out, c']')
                characters += _characters(arguments.at, arguments.size) - 2
        _put_char(out, c']')
        return characters
    finally:
        _close(&arguments)


cdef object _arguments_of(dict message, int count):
    """Those of the count-th call."""
    return message["tool_calls"][count - 1]["function"]["arguments"]
