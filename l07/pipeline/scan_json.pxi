# Part of scan.pyx: shapes, and values by them.

# ------------------------------------------------------------------ shapes, made once from the structs

cdef dict KINDS = {"null": NULL_, "bool": BOOL, "number": NUMBER, "string": STRING, "array": ARRAY, "object": OBJECT}


def add(kinds, item, members, unique, message):
    """One more shape; its number. `kinds`: names of JSON's types. `item`: the shape of an array's elements, -1 for any.
    `members`: (name, shape, slot or -1, required) of an object's known fields, None for any object."""
    global node_count, field_count
    if node_count == ALL_NODES or field_count + len(members or ()) > ALL_FIELDS or len(members or ()) > KNOWN_FIELDS:
        raise ValueError("more shapes than there is room for")
    cdef Node* node = &nodes[node_count]
    node.kinds = 0
    for name in kinds:
        node.kinds |= KINDS[name]
    node.item, node.unique, node.message = item, unique, message
    node.first, node.count, node.required = field_count, -1 if members is None else len(members), 0
    for place, (name, shape, slot, required) in enumerate(members or ()):
        raw = name.encode()
        kept.append(raw)
        fields[field_count] = Field(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), shape, slot)
        node.required |= (<uint64_t>1 << place) if required else 0
        field_count += 1
    node_count += 1
    return node_count - 1


cdef int _value(Scan* s, int shape, Span* span) noexcept nogil:
    """Any value that the shape allows."""
    cdef char c = s.at[0]
    cdef int kind
    cdef int kinds = nodes[shape].kinds if shape >= 0 else ~0
    cdef const char* begin = s.at
    if c == 34:
        s.at += 1
        return _string(s, span) & kinds
    if c == 123:
        kind = _object(s, shape) if kinds & OBJECT else 0
    elif c == 91:
        kind = _array(s, nodes[shape].item if shape >= 0 else FREE) if kinds & ARRAY else 0
    elif c == 110:
        kind = _word(s, "null", 4, NULL_) & kinds
    elif c == 116:
        kind = _word(s, "true", 4, BOOL) & kinds
    elif c == 102:
        kind = _word(s, "false", 5, BOOL) & kinds
    else:
        kind = _number(s) & kinds
    span.at, span.size, span.kind = begin, s.at - begin, kind
    return kind


cdef int _array(Scan* s, int item) noexcept nogil:
    cdef Span span
    s.at += 1
    if s.at[0] == 93:
        s.at += 1
        return ARRAY
    s.level += 1
    if s.level > LEVELS:
        return 0
    while True:
        if not _value(s, item, &span):
            return 0
        if s.at[0] == 44:
            s.at += 1
        elif s.at[0] == 93:
            s.at += 1
            s.level -= 1
            return ARRAY | MANY
        else:
            return 0


cdef inline int _field(Node* node, Span* name, int likely) noexcept nogil:
    """The number of a known field. They mostly come in one order."""
    cdef int place
    cdef Field* field
    for place in range(likely, node.count):
        field = &fields[node.first + place]
        if field.size == name.size and l07_equal(field.name, name.at, name.size):
            return place
    for place in range(0, likely):
        field = &fields[node.first + place]
        if field.size == name.size and l07_equal(field.name, name.at, name.size):
            return place
    return NOWHERE


cdef inline int _first(Span* strange, int* others, Span* name) noexcept nogil:
    """Whether none of these is called so; it is one of them from now on."""
    cdef int n
    for n in range(others[0]):
        if strange[n].size == name.size and l07_equal(strange[n].at, name.at, name.size):
            return 0
    if others[0] == OTHERS:
        return 0
    strange[others[0]] = name[0]
    others[0] += 1
    return 1


cdef int _object(Scan* s, int shape) noexcept nogil:
    cdef Node* node = &nodes[shape] if shape >= 0 else NULL
    cdef Node* known = node if node != NULL and node.count >= 0 else NULL
    cdef uint64_t seen = 0
    cdef int place, likely = 0, others = 0, told = known != NULL and known.message
    cdef Span name, value, said
    cdef Span strange[OTHERS]
    cdef int role = UNKNOWN_ROLE
    said.kind = 0
    s.at += 1
    s.level += 1
    if s.level > LEVELS:
        return 0
    if s.at[0] == 125:
        s.at += 1
    else:
        while True:
            if s.at[0] != 34:
                return 0
            s.at += 1
            if not _string(s, &name) or s.at[0] != 58:
                return 0
            s.at += 1
            if known == NULL:
                if not _value(s, FREE, &value):
                    return 0
            else:
                if name.kind & ESCAPED:  # it may mean a name that we know
                    return 0
                place = _field(known, &name, likely)
                if place == NOWHERE:
                    if known.unique and not _first(strange, &others, &name):
                        return 0
                    if not _value(s, FREE, &value):
                        return 0
                else:
                    if seen >> place & 1:
                        return 0
                    seen |= <uint64_t>1 << place
                    likely = place + 1
                    if not _value(s, fields[known.first + place].node, &value):
                        return 0
                    if fields[known.first + place].slot >= 0:
                        s.slots[fields[known.first + place].slot] = value
                    if told and place == 0:
                        role = _role(&value)
                    elif told and place == 1:
                        said = value
            if s.at[0] == 44:
                s.at += 1
            elif s.at[0] == 125:
                s.at += 1
                break
            else:
                return 0
    s.level -= 1
    if known != NULL and (seen & known.required) != known.required:
        return 0
    if told:
        _hear(&s.talk, role, &said)
    return OBJECT


# ------------------------------------------------------------------ conversations

cdef inline int _is(Span* span, const char* word, Py_ssize_t size) noexcept nogil:
    return span.size == size and l07_equal(span.at, word, size)


cdef int _role(Span* span) noexcept nogil:
    if not span.kind & STRING:
        return UNKNOWN_ROLE
    if _is(span, "user", 4):
        return USER
    if _is(span, "assistant", 9):
        return ASSISTANT
    if _is(span, "tool", 4) or _is(span, "function", 8):
        return TOOL
    if _is(span, "system", 6) or _is(span, "developer", 9):
        return SYSTEM
    return UNKNOWN_ROLE


cdef void _hear(Talk* talk, int role, Span* said) noexcept nogil:
    if role == UNKNOWN_ROLE:
        talk.strange = 1
    elif role == ASSISTANT:
        talk.assistant = 1
    elif role == USER and not talk.user:
        talk.user = 1
        talk.goal = said[0]
