-- Which releases a migration leaves working, so that services of two releases may write and read side by side.

DO $$
BEGIN
    ALTER TABLE migrations ADD COLUMN IF NOT EXISTS least_client integer;
    COMMENT ON COLUMN migrations.least_client IS 'The version of the oldest clients that work with the schema after this migration; null: of its own version.';
END $$;
