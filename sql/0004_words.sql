-- The words of documents' texts, each with an embedding of its own: a search compares the query's words with them.

CREATE TABLE span_words (
    word      text COLLATE "C" PRIMARY KEY,
    embedding bytea NOT NULL
);
COMMENT ON TABLE span_words IS 'Words of documents, each embedded alone. A search embeds those that are missing itself.';
COMMENT ON COLUMN span_words.word IS 'In lowercase; letters only.';
COMMENT ON COLUMN span_words.embedding IS 'A signed byte a dimension, in the direction of the word''s vector; its length means nothing.';
