"""Chat templates as transformers renders them."""

from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers", reason="the peers extra is not installed (make peers)")

from aft_worker.data.chat_template import ChatTemplate
from examples.tiny_model import CHAT_TEMPLATE, write_tiny_model

pytestmark = pytest.mark.peers

LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system_message + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = '' -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else '') }}
    {{- message['content'] | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""
QWEN3 = """{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == 'user' and ns.last == messages|length - 1 %}{%- set ns.last = index %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and loop.index0 > ns.last %}
        {{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + message.content.lstrip('\\n') + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
LINES = """{% for message in messages %}
    {% if message.role == 'system' %}
        {% continue %}
    {% endif %}
    {% generation %}{{ message | tojson }}{% endgeneration %}

{% endfor %}
"""
TEMPLATES = {"chatml": CHAT_TEMPLATE, "llama3": LLAMA3, "gemma": GEMMA, "qwen3": QWEN3, "lines": LINES}
"""After the templates of these models, with what is peculiar in each."""

ASKED = {"role": "user", "content": '  Grüße & <b>"quotes"</b>\n'}
ANSWERED = {"role": "assistant", "content": "\n\nYes, {{ braces }} too. 🙂 "}
CONVERSATIONS = {
    "question": [ASKED],
    "exchange": [ASKED, ANSWERED],
    "guided": [{"role": "system", "content": "Be brief."}, ASKED, ANSWERED, ASKED, ANSWERED],
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> transformers.PreTrainedTokenizerBase:
    """A tokenizer that brings special tokens."""
    model_dir: Path = write_tiny_model(tmp_path_factory.mktemp("model"), num_hidden_layers=1)
    return transformers.AutoTokenizer.from_pretrained(model_dir)


@pytest.mark.parametrize("add_generation_prompt", [False, True])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_text_is_that_of_transformers(tokenizer, name: str, conversation: str, add_generation_prompt: bool) -> None:
    messages = CONVERSATIONS[conversation]
    special_tokens = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    ours = ChatTemplate(TEMPLATES[name], special_tokens).render(messages, add_generation_prompt=add_generation_prompt)
    assert ours == tokenizer.apply_chat_template(
        messages, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=add_generation_prompt
    )
