"""Where the assistant speaks, under templates as real models bring them."""

import pytest

from aft_worker.data.chat_template import ChatTemplate, UnrenderableChat
from aft_worker.data.content import Message
from aft_worker.data.template_files import PLAIN_TEMPLATE

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TALK: tuple[Message, ...] = (
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hé?"},
    {"role": "assistant", "content": "yes ✓"},
    {"role": "user", "content": "more"},
    {"role": "assistant", "content": "no"},
)
WITHOUT_SYSTEM = TALK[1:]

LLAMA_3 = """
{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- bos_token }}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
QWEN_2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_3 = """
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role != "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif loop.last or loop.index0 > ns.last_query_index %}
        {{- '<|im_start|>' + message.role + '\\n<think>\\n\\n</think>\\n\\n' + message.content.lstrip('\\n') }}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
GEMMA = """
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}
{%- for message in messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""
MISTRAL = """
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}
"""
# trim_blocks takes the first of the line breaks behind a tag.
TAGGED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "<a>{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n\n"
    "{% else %}[{{ m.role }}]{{ m.content }}[/]{% endif %}{% endfor %}"
)
TAGGED_IN_A_MACRO = (
    "{% macro turn(m) %}{% if m.role == 'assistant' %}{%- generation -%} {{ m.content }}. {%- endgeneration -%}"
    "{% else %}{{ m.content }}|{% endif %}{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}"
)
TAGGED_TWICE_A_TURN = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content[0] }}{% endgeneration %}-"
    "{% generation %}{{ m.content[1:] }}{% endgeneration %}{% else %}{{ m.content }}|{% endif %}{% endfor %}"
)


def spoken(source: str, talk: tuple[Message, ...] = TALK, **options: int) -> list[str]:
    text, spans = ChatTemplate(source, TOKENS).assistant_spans(talk, **options)
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("source", "talk", "turns"),
    [
        (PLAIN_TEMPLATE, TALK, [" yes ✓</s>\n", " no</s>\n"]),
        (LLAMA_3, TALK, ["yes ✓<|eot_id|>", "no<|eot_id|>"]),
        (QWEN_2, TALK, ["yes ✓<|im_end|>\n", "no<|im_end|>\n"]),
        (QWEN_2, WITHOUT_SYSTEM, ["yes ✓<|im_end|>\n", "no<|im_end|>\n"]),
        (QWEN_3, TALK, ["yes ✓<|im_end|>\n", "<think>\n\n</think>\n\nno<|im_end|>\n"]),
        (GEMMA, WITHOUT_SYSTEM, ["yes ✓<end_of_turn>\n", "no<end_of_turn>\n"]),
        (MISTRAL, WITHOUT_SYSTEM, [" yes ✓</s>", " no</s>"]),
        (MISTRAL, TALK, ["yes ✓</s>", "no</s>"]),
        (TAGGED, TALK, ["yes ✓</s>", "no</s>"]),
        (TAGGED_IN_A_MACRO, TALK, ["yes ✓.", "no."]),
        (TAGGED_TWICE_A_TURN, TALK, ["y", "es ✓", "n", "o"]),
    ],
    ids=[
        "plain", "llama 3", "qwen 2", "qwen 2 without system", "qwen 3", "gemma", "mistral without system", "mistral",
        "tags", "tags in a macro", "two tags a turn",
    ],
)  # fmt: skip
def test_assistant_turns_are_traced_in_any_template(source: str, talk: tuple[Message, ...], turns: list[str]) -> None:
    assert spoken(source, talk) == turns


def test_templates_render_as_they_are_written() -> None:
    head = "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\nbe kind<|eot_id|>"
    user = "<|start_header_id|>user<|end_header_id|>\n\nhé?<|eot_id|>"
    template = ChatTemplate(LLAMA_3, TOKENS)
    assert template.render(TALK[:2], add_generation_prompt=True) == (
        f"{head}{user}<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert ChatTemplate(MISTRAL, TOKENS).render(TALK[:2]) == "<s>[INST] be kind\n\nhé?[/INST]"
    assert ChatTemplate(TAGGED, TOKENS).render(TALK[:3]) == "<s>[system]be kind[/][user]hé?[/]<a>yes ✓</s>\n"


@pytest.mark.parametrize("source", [PLAIN_TEMPLATE, QWEN_2, TAGGED])
def test_turns_of_a_given_prompt_are_left_out(source: str) -> None:
    assert spoken(source, TALK, from_turn=3) == spoken(source, TALK)[1:]


def test_tags_that_are_no_turns_cannot_be_matched_with_a_prompt() -> None:
    with pytest.raises(UnrenderableChat, match="2 assistant turns that the template's tags cut into 4"):
        spoken(TAGGED_TWICE_A_TURN, from_turn=3)


@pytest.mark.parametrize(
    "source",
    [
        "{% generation %}a{% generation %}b{% endgeneration %}{% endgeneration %}",
        "{% set x %}{% generation %} a {% endgeneration %}{% endset %}{{ x | trim | length }}",
        "{% set x %}{% generation %} a {% endgeneration %}{% endset %}{{ x | replace(' ', '') | reverse }}",
    ],
    ids=["nested", "measured", "turned round"],
)
def test_tags_that_are_worked_on_further_are_refused(source: str) -> None:
    with pytest.raises(UnrenderableChat, match="generation tags"):
        spoken(source)


def test_text_that_holds_a_mark_is_no_trap() -> None:
    trap = ({"role": "user", "content": "\ufdd0"}, {"role": "assistant", "content": "\ufdd1x\ufdd2"})
    assert spoken(TAGGED, trap) == ["\ufdd1x\ufdd2</s>"]


@pytest.mark.parametrize(
    ("source", "ahead"),
    [
        (QWEN_3, ["<|im_start|>assistant\n", "<|im_start|>assistant\n"]),
        (MISTRAL, ["[/INST] ", "[/INST] "]),
    ],
)
def test_an_answer_that_repeats_the_question_is_found_in_its_own_turn(source: str, ahead: list[str]) -> None:
    echo = ({"role": "user", "content": "no"}, {"role": "assistant", "content": "no"})
    text, spans = ChatTemplate(source, TOKENS).assistant_spans(({"role": "system", "content": "no"}, *echo, *echo))
    assert [text[start - len(before) : start] for (start, _), before in zip(spans, ahead, strict=True)] == ahead
    assert all(text[start:end].endswith(("no</s>", "no<|im_end|>\n")) for start, end in spans)


def test_a_chat_that_the_assistant_opens_is_traced_too() -> None:
    opening = ({"role": "assistant", "content": "hello"}, {"role": "user", "content": "hi"})
    assert spoken(QWEN_3, opening) == ["hello<|im_end|>\n"]


def test_a_templates_refusal_and_a_lost_turn_are_told() -> None:
    with pytest.raises(UnrenderableChat, match="System role not supported"):
        spoken(GEMMA, TALK)
    with pytest.raises(UnrenderableChat, match="Conversation roles must alternate"):
        spoken(GEMMA, TALK[2:])
    with pytest.raises(UnrenderableChat, match="turn 2"):
        spoken("{{ messages[-1].role }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('cannot take ' + messages[0].content) }}",
        "{{ messages[0][messages[0].content] + 1 }}",
        "{{ messages[0].content + 1 }}",
        "{{ {}[messages[0].content].x }}",
        "{{ range(messages[0].content) }}",
    ],
)
def test_a_refusal_does_not_repeat_the_conversation(source: str) -> None:
    with pytest.raises(UnrenderableChat, match="refuses") as caught:
        spoken(source, ({"role": "user", "content": "secret"},))
    assert "secret" not in str(caught.value)
