# cython: language_level=3, boundscheck=False, wraparound=False
"""Messages of the two common dialects, in C, of what a decoder made. Of anything unusual it answers None, and `chat.py` or
`steps.py` does it; a test holds both against each other."""

cdef list _IDS = [f"call_{number}" for number in range(65)]  # of steps; texts that are one object are hashed once


cdef inline str _ident(Py_ssize_t number):
    return <str>_IDS[number] if number < 65 else f"call_{number}"


cdef inline dict _call(str ident, name, arguments):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def of_steps(list steps not None, list messages not None, arguments_of, text_of, filled):
    """Puts what the steps say behind the messages. `arguments_of` raises what it raises."""
    cdef Py_ssize_t number
    cdef str ident
    for number in range(len(steps)):
        step = steps[number]
        name = step.tool_name
        if not name:
            said = filled(step.reasoning) or filled(step.output)
            if said:
                messages.append({"role": "assistant", "content": said})
            continue
        ident = _ident(number + 1)
        arguments = step.parameters
        if type(arguments) is not dict:
            arguments = arguments_of(arguments)
        output = step.output
        if type(output) is not str:
            output = text_of(output)
        messages.append(
            {"role": "assistant", "content": step.reasoning or "", "tool_calls": [_call(ident, name, arguments)]}
        )
        messages.append({"role": "tool", "content": output, "tool_call_id": ident, "name": name})


def of_chat(list said not None, dict roles not None, arguments_of):
    """The messages, or None. `arguments_of` raises what it raises."""
    cdef list messages = [], waiting = [], calls
    cdef str role
    for message in said:
        content = message.content
        if content is None or (type(content) is str and not content):
            content = message.refusal or ""
        elif type(content) is not str:
            return None
        role = <str>roles[message.role]
        if role == "tool":
            ident = message.tool_call_id
            if not ident:
                if message.tool_call is not None:
                    return None
                ident = waiting[0] if waiting else ""
            if ident in waiting:
                waiting.remove(ident)
            messages.append({"role": "tool", "content": content, "tool_call_id": ident, "name": message.name or ""})
            continue
        calls = None
        if role == "assistant":
            if message.function_call is not None:
                return None
            made = message.tool_calls
            if made:
                calls = _calls(<list?>made, len(messages), arguments_of)
                if calls is None:
                    return None
        if calls is None:
            messages.append({"role": role, "content": content})
        else:
            waiting = [(<dict>call)["id"] for call in calls]
            messages.append({"role": role, "content": content, "tool_calls": calls})
    return messages


cdef list _calls(list made, Py_ssize_t place, arguments_of):
    """None: one is not as OpenAI writes it."""
    cdef list calls = []
    for each in made:
        function = each.function
        if type(function) is str:
            return None
        arguments = function.arguments
        if type(arguments) is not dict:
            arguments = arguments_of(arguments)
        calls.append(_call(each.id or f"call_{place}_{len(calls)}", function.name, arguments))
    return calls
