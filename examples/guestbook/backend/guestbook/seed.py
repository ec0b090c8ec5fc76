"""Write the first entries, into an empty book only: `python -m guestbook.seed`."""

from guestbook.store import connect

ENTRIES = [
    ("Ada", "A book that remembers who came by. I shall be the first."),
    ("Grace", "Signed, tested, shipped."),
    ("Edsger", "Simplicity is a great virtue; so are visitors."),
]


def main() -> None:
    with connect() as connection, connection.transaction():
        row = connection.execute("SELECT EXISTS (SELECT FROM entries) AS written").fetchone()
        if row is not None and row["written"]:
            print("the book has entries; nothing to seed")
            return
        for name, message in ENTRIES:
            connection.execute(
                "INSERT INTO entries (name, message) VALUES (%s, %s)", [name, message]
            )
        print(f"{len(ENTRIES)} entries written")


if __name__ == "__main__":
    main()
