"""What the guestbook answers, with a book of paper in place of the database."""

import json
import unittest

from guestbook.app import respond


class Paper:
    def __init__(self):
        self.written = []

    def health(self):
        return {"database": "paper", "entries": len(self.written)}

    def entries(self, limit):
        return list(reversed(self.written))[:limit]

    def sign(self, name, message):
        self.written.append({"id": len(self.written) + 1, "name": name, "message": message})
        return self.written[-1]


class Answers(unittest.TestCase):
    def setUp(self):
        self.book = Paper()

    def post(self, path, value):
        return respond(self.book, "POST", path, json.dumps(value).encode())

    def test_both_health_addresses_count_the_entries(self):
        for path in ("/health", "/api/health"):
            answer = respond(self.book, "GET", path)
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.body, {"status": "ok", "database": "paper", "entries": 0})

    def test_who_signs_is_in_the_book_the_latest_first(self):
        for name in ("Ada", " Grace "):
            self.assertEqual(self.post("/api/entries", {"name": name, "message": "Hi"}).status, 201)
        answer = respond(self.book, "GET", "/api/entries")
        self.assertEqual([entry["name"] for entry in answer.body["entries"]], ["Grace", "Ada"])

    def test_an_entry_without_words_is_refused(self):
        for value in ({}, {"name": "Ada"}, {"name": " ", "message": "Hi"}, [], "Ada", None):
            with self.subTest(value):
                self.assertEqual(self.post("/api/entries", value).status, 400)
        self.assertEqual(self.book.written, [])

    def test_a_long_message_is_refused(self):
        answer = self.post("/api/entries", {"name": "Ada", "message": "x" * 501})
        self.assertEqual(answer.status, 400)
        self.assertIn("500", answer.body["error"])

    def test_what_is_not_there_is_404_and_what_is_not_done_405(self):
        self.assertEqual(respond(self.book, "GET", "/api/nothing").status, 404)
        self.assertEqual(respond(self.book, "DELETE", "/api/entries").status, 405)
