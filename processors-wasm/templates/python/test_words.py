"""Run by `python3 -m unittest`."""

import unittest

import words


def check(*lines):
    """Gives each message as its line and its words."""
    found = words.messages((number, line.encode()) for number, line in enumerate(lines, 1))
    return [(line, count) for line, _, count in found]


class Words(unittest.TestCase):
    def test_each_message_of_the_user_is_a_row(self):
        rows = check(
            r'{"type":"user","message":{"content":"fix the\nparser"},"timestamp":"2026-01-02T03:04:05Z"}',
            '{"type":"assistant","message":{"content":[{"type":"text","text":"done"}]}}',
            '{"type":"user","message":{"content":[{"type":"text","text":"thank you"},{"type":"image"}]}}',
        )
        self.assertEqual(rows, [(1, 3), (3, 2)])

    def test_what_the_agent_writes_in_the_users_name_is_none(self):
        rows = check(
            '{"type":"user","message":{"content":[{"type":"tool_result","content":"a b"}]}}',
            '{"type":"user","isMeta":true,"message":{"content":"a b"}}',
            '{"type":"user","isSidechain":true,"message":{"content":"a b"}}',
            '{"type":"user","message":{"content":"<command-name>/clear</command-name>"}}',
        )
        self.assertEqual(rows, [])

    def test_damaged_lines_are_passed_over(self):
        rows = check(
            "not JSON",
            "",
            "[1]",
            '{"type":"user","message":{"content":"go on"}}',
            '{"type":"user","message":{"content":"go o',
        )
        self.assertEqual(rows, [(4, 2)])

    def test_a_line_may_be_nested_but_not_without_end(self):
        deep = '{"type":"user","x":%s1%s,"message":{"content":"go on"}}'
        within_text = deep % ('"' + "[" * 999, '"')
        rows = check(deep % ("[" * 127, "]" * 127), deep % ("[" * 128, "]" * 128), within_text)
        self.assertEqual(rows, [(1, 2), (3, 2)])

    def test_what_is_json_is_what_the_other_languages_take_for_it(self):
        line = '{"type":"user","x":%s,"message":{"content":"go on"}}'
        good = ["9" * 300, "1" + "0" * 300 + ".5", r'"\ud83d\ude00"', r'"\\ud800"', "-0"]
        bad = ["NaN", "-Infinity", "1e400", "01", r'"\ud800"', r'"\udc00\ud800"', '"\t"']
        for value in good:
            self.assertEqual(check(line % value), [(1, 2)], value)
        for value in bad:
            self.assertEqual(check(line % value), [], value)
        marked = "\ufeff" + line % 1
        self.assertEqual(check(marked, marked), [(1, 2)])

    def test_a_time_is_microseconds_and_anything_else_is_none(self):
        self.assertEqual(words.micros("2026-02-13T15:32:15.839+01:00"), 1_770_993_135_839_000)
        self.assertEqual(words.micros("2016-12-31T23:59:60.5Z"), words.micros("2016-12-31T23:59:59.5Z"))
        for text in ["2026-02-30T00:00:00Z", "0001-01-01T00:00:00+01:00", "2026-02-13T14:32:15", "yesterday", 5, None]:
            self.assertIsNone(words.micros(text), text)


if __name__ == "__main__":
    unittest.main()
