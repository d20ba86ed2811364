package main

// sqliteAttacks are statements that try to read or write what a role may not, by class. Every role sends each of them to each endpoint of raw SQL.
// The sign before a statement says what has to come of it:
//
//	!  it is refused, to every role
//	-  it is refused to all but the role that may read every table
//	+  it may be answered, with nothing that is secret
//
// {pin} and the like are the beginnings of secrets, as one would guess them; ⏎ is the end of a line.
var sqliteAttacks = []struct{ class, statements string }{
	{"schema", `
		! SELECT * FROM sqlite_master
		! SELECT sql FROM sqlite_schema
		! SELECT sql FROM main.sqlite_master
		! SELECT "sql" FROM "sqlite_master"
		! SELECT sql FROM [SQLITE_MASTER]
		! SELECT sql FROM ` + "`sqlite_Schema`" + `
		! SELECT count(*) FROM sqlite_schema
		! SELECT 1 FROM sqlite_schema WHERE sql LIKE '%{schema}%'
		! SELECT name FROM sqlite_temp_master
		! SELECT name FROM sqlite_temp_schema
		! SELECT name FROM temp.sqlite_schema
		! SELECT seq FROM sqlite_sequence
		! SELECT stat FROM sqlite_stat1
		! SELECT (SELECT group_concat(sql) FROM sqlite_schema)
		! WITH x AS (SELECT sql FROM sqlite_schema) SELECT sql FROM x
		! WITH sqlite_schema AS (SELECT sql FROM main.sqlite_schema) SELECT sql FROM sqlite_schema
		! SELECT id FROM items WHERE name IN (SELECT name FROM sqlite_schema)
		! INSERT INTO orders(note) SELECT sql FROM sqlite_schema
		! UPDATE sqlite_schema SET sql = ''
		! DELETE FROM sqlite_schema
		! INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, 'CREATE TABLE x(a)')
		! INSERT INTO sqlite_sequence VALUES ('x', 1)
		! CREATE TABLE stolen(a)
		! CREATE TABLE stolen AS SELECT word FROM vault
		! CREATE TABLE IF NOT EXISTS items(a)
		! CREATE INDEX i ON items(secret)
		! CREATE UNIQUE INDEX i ON orders(note)
		! CREATE VIEW v AS SELECT word FROM vault
		! CREATE TRIGGER t AFTER INSERT ON orders BEGIN INSERT INTO orders(note) SELECT word FROM vault; END
		! CREATE VIRTUAL TABLE v USING fts5(x, content='vault')
		! CREATE VIRTUAL TABLE v USING fts5vocab('papers', 'row')
		! CREATE VIRTUAL TABLE v USING dbstat(main)
		! CREATE VIRTUAL TABLE v USING rtree(a, b, c)
		! DROP TABLE items
		! DROP TABLE IF EXISTS vault
		! DROP VIEW peek
		! DROP TRIGGER ticket_read
		! DROP INDEX items_secret
		! ALTER TABLE orders RENAME TO items
		! ALTER TABLE orders ADD COLUMN x DEFAULT 'x'
		! ALTER TABLE vault RENAME COLUMN word TO name
		! ALTER TABLE items DROP COLUMN secret
		! REINDEX
		! REINDEX items
		! ANALYZE
		! ANALYZE vault`},
	{"temporary tables", `
		! CREATE TEMP TABLE items(id, name, secret)
		! CREATE TEMP TABLE t AS SELECT secret FROM items
		! CREATE TEMPORARY VIEW items AS SELECT secret AS name FROM main.items
		! CREATE TEMP TRIGGER t AFTER INSERT ON orders BEGIN SELECT word FROM vault; END
		! CREATE TABLE temp.x(a)
		! CREATE VIRTUAL TABLE temp.x USING fts5(a)
		! INSERT INTO temp.orders(note) VALUES ('x')`},
	{"pragma", `
		! PRAGMA query_only = off
		! PRAGMA table_info(vault)
		! PRAGMA table_list
		! PRAGMA database_list
		! PRAGMA writable_schema = on
		! PRAGMA journal_mode = delete
		! PRAGMA synchronous = off
		! PRAGMA foreign_keys = off
		! PRAGMA trusted_schema = on
		! PRAGMA wal_checkpoint(TRUNCATE)
		! PRAGMA schema_version = 7
		! PRAGMA user_version = 7
		! PRAGMA main.application_id
		! PRAGMA integrity_check
		! PRAGMA optimize
		! PRAGMA data_version
		! PRAGMA temp_store_directory = '/tmp'
		! PRAGMA locking_mode = exclusive
		! PRAGMA mmap_size = 100000000000
		! PRAGMA hard_heap_limit = 1
		! PRAGMA function_list
		! pragma/**/table_info(vault)
		! ;;PRAGMA query_only = 0
		! /* x */ -- y
		! EXPLAIN PRAGMA query_only = off
		! EXPLAIN QUERY PLAN PRAGMA query_only = off
		! explain/**/query/**/plan/**/pragma query_only = off
		! SELECT * FROM pragma_table_info('vault')
		! SELECT name FROM pragma_table_info WHERE arg = 'vault'
		! SELECT * FROM Pragma_Table_List
		! SELECT 1 FROM pragma_database_list
		! SELECT file FROM "pragma_database_list"
		! SELECT * FROM main.pragma_database_list
		! SELECT * FROM pragma_function_list
		! SELECT * FROM pragma_compile_options
		! SELECT * FROM pragma_index_xinfo('items_secret')
		! SELECT * FROM pragma_integrity_check
		! SELECT id FROM items, pragma_user_version
		! SELECT id FROM items WHERE id IN (SELECT cid FROM pragma_table_xinfo('items'))`},
	{"files", `
		! ATTACH 'vault.db' AS v
		! ATTACH DATABASE 'data/vault.db' AS v
		! ATTACH ':memory:' AS v
		! ATTACH '' AS v
		! ATTACH 'file:vault.db?mode=ro' AS v
		! EXPLAIN ATTACH 'x' AS x
		! DETACH main
		! SELECT word FROM v.vault
		! VACUUM
		! VACUUM INTO 'stolen.db'
		! VACUUM main INTO 'stolen.db'
		! EXPLAIN VACUUM INTO 'stolen.db'
		! SELECT readfile('vault.db')
		! SELECT writefile('stolen.db', 'x')
		! SELECT edit('x', 'sh')
		! SELECT name FROM fsdir('.')
		! SELECT * FROM zipfile('x')
		! SELECT * FROM csv
		! SELECT data FROM sqlite_dbpage
		! SELECT count(*) FROM sqlite_dbpage
		! SELECT data FROM sqlite_dbpage('main', 1)
		! UPDATE sqlite_dbpage SET data = zeroblob(4096)
		! SELECT pageno FROM dbstat
		! SELECT * FROM "DBSTAT"
		! SELECT sql FROM sqlite_stmt
		! SELECT * FROM bytecode('SELECT 1')
		! SELECT * FROM tables_used('SELECT 1')
		! SELECT * FROM sqlite_memstat`},
	{"functions", `
		! SELECT load_extension('x.so')
		! SELECT load_extension('x.so', 'main')
		! SELECT "load_extension"('x')
		! SELECT LOAD_extension ('x')
		! SELECT fts3_tokenizer('simple')
		! SELECT fts5(?)
		! SELECT sqlite_version()
		! SELECT sqlite_source_id()
		! SELECT sqlite_compileoption_get(1)
		! SELECT sqlite_compileoption_used('THREADSAFE')
		! SELECT sqlite_offset(name) FROM items
		! SELECT sqlite_log(1, 'x')
		! SELECT sqlite_rename_table(1, 2, 3, 4, 5, 6, 7)
		! SELECT total_changes()
		! SELECT rtreecheck('x')
		! SELECT * FROM generate_series(1, 10)
		+ SELECT last_insert_rowid(), changes()
		+ SELECT random(), hex(randomblob(8)), datetime('now'), unixepoch()`},
	{"transactions", `
		! BEGIN
		! BEGIN EXCLUSIVE
		! BEGIN IMMEDIATE TRANSACTION
		! COMMIT
		! END TRANSACTION
		! ROLLBACK
		! SAVEPOINT batch
		! RELEASE batch
		! RELEASE SAVEPOINT batch
		! ROLLBACK TO batch
		! ROLLBACK TO SAVEPOINT batch
		! EXPLAIN COMMIT
		! /**/COMMIT
		! ;COMMIT
		! cOmMiT;
		! SAVEPOINT "batch"
		! SELECT 1; COMMIT
		! INSERT INTO orders(note) VALUES ('x'); COMMIT`},
	{"several statements", `
		! SELECT 1; SELECT 2
		! SELECT id FROM items; DELETE FROM vault
		! SELECT id FROM items;PRAGMA query_only=0
		! SELECT id FROM items--⏎;DROP TABLE items
		! INSERT INTO orders(note) VALUES ('a'); DELETE FROM vault
		! ; ; SELECT 1 ; ; DELETE FROM vault
		! SELECT '; DROP TABLE items
		! SELECT 1 /* ; */ ; /* */ DELETE FROM items
		! --
		! /*
		! ;
		+ SELECT 1;
		+ ;;SELECT 1;; -- x
		+ SELECT 'x; DELETE FROM vault'`},
	{"columns", `
		- SELECT * FROM items
		- SELECT secret FROM items
		- SELECT items.* FROM items
		- SELECT i.* FROM items i
		- SELECT i.secret FROM main.items AS i
		- SELECT "secret" FROM "items"
		- SELECT [secret] FROM [items]
		- SELECT ` + "`secret`" + ` FROM ` + "`items`" + `
		- SELECT "SECRET" FROM ITEMS
		- SELECT items."secret" FROM main."items"
		- SELECT length(secret) FROM items
		- SELECT id FROM items WHERE secret LIKE '{item}%'
		- SELECT id FROM items WHERE secret IS NOT NULL
		- SELECT id FROM items WHERE substr(secret, 1, 1) BETWEEN 'a' AND 'z'
		- SELECT id FROM items WHERE (id, secret) > (1, 'a')
		- SELECT id FROM items WHERE (id, secret) IN (VALUES (1, 'a'))
		- SELECT id FROM items ORDER BY secret
		- SELECT id FROM items ORDER BY length(secret), id
		- SELECT id FROM items GROUP BY secret
		- SELECT id FROM items GROUP BY id HAVING max(secret) > 'a'
		- SELECT max(secret) FROM items
		- SELECT min(secret), id FROM items
		- SELECT count(secret) FROM items
		- SELECT count(DISTINCT secret) FROM items
		- SELECT group_concat(secret) FROM items
		- SELECT group_concat(name, secret) FROM items
		- SELECT string_agg(name, ',' ORDER BY secret) FROM items
		- SELECT json_group_array(secret) FROM items
		- SELECT json_group_object(id, secret) FROM items
		- SELECT json_object('a', secret) FROM items
		- SELECT value FROM items, json_each(json_array(secret))
		- SELECT value FROM items, json_tree(json_array(items.secret))
		- SELECT iif(secret > 'm', 1, 0) FROM items
		- SELECT CASE secret WHEN 'a' THEN 1 END FROM items
		- SELECT coalesce(NULL, secret) FROM items
		- SELECT CAST(secret AS BLOB) FROM items
		- SELECT secret COLLATE nocase FROM items
		- SELECT typeof(secret) FROM items
		- SELECT secret -> '$' FROM items
		- SELECT unicode(secret), hex(secret), quote(secret) FROM items
		- SELECT printf('%s', secret) FROM items
		- SELECT instr(secret, 'a') FROM items
		- SELECT id FROM items LIMIT (SELECT length(secret) FROM items)
		- SELECT shout FROM items
		- SELECT id FROM items WHERE shout = 'X'
		- SELECT id FROM items WHERE lower(secret) = 'a'
		- SELECT id FROM items INDEXED BY items_secret WHERE secret > ''
		- SELECT id FROM items INDEXED BY items_lower WHERE lower(secret) > ''
		- SELECT pin FROM accounts
		- SELECT * FROM accounts
		- SELECT handle FROM accounts WHERE pin LIKE '{pin}%'
		+ SELECT rowid, _rowid_, oid FROM items
		+ SELECT id, name FROM items
		+ SELECT count(*) FROM items
		+ SELECT name AS secret FROM items
		+ SELECT 'secret' FROM items
		! SELECT "secrets" FROM items
		! SELECT items FROM items`},
	{"tables", `
		- SELECT * FROM vault
		- SELECT word FROM vault
		- SELECT 1 FROM vault
		- SELECT count(*) FROM vault
		- SELECT rowid FROM vault
		- SELECT word FROM main.vault
		- SELECT word FROM "VAULT"
		- SELECT word FROM [vault]
		- SELECT word FROM 'vault'
		- SELECT EXISTS (SELECT 1 FROM vault)
		- SELECT 1 WHERE EXISTS (SELECT * FROM vault WHERE word LIKE '{vault}%')
		- SELECT (SELECT word FROM vault)
		- SELECT (SELECT word FROM vault LIMIT 1 OFFSET 1)
		- SELECT 1 IN vault
		- SELECT (1, 'x') IN vault
		- SELECT id IN (SELECT id FROM vault) FROM items
		- SELECT id FROM items WHERE name IN (SELECT word FROM vault)
		- SELECT id FROM items WHERE id = (SELECT max(id) FROM vault)
		- SELECT name FROM items UNION SELECT word FROM vault
		- SELECT name FROM items UNION ALL SELECT word FROM vault
		- SELECT name FROM items EXCEPT SELECT word FROM vault
		- SELECT name FROM items INTERSECT SELECT word FROM vault
		- SELECT name FROM items EXCEPT SELECT 'x' FROM vault
		- VALUES ((SELECT word FROM vault))
		- VALUES (1), ((SELECT word FROM vault))
		- SELECT items.id FROM items, vault
		- SELECT items.id FROM items JOIN vault
		- SELECT items.id FROM items CROSS JOIN vault
		- SELECT items.id FROM items LEFT JOIN vault ON vault.id = items.id
		- SELECT items.id FROM items LEFT JOIN vault ON 0
		- SELECT items.id FROM items RIGHT JOIN vault ON 1
		- SELECT items.id FROM items FULL OUTER JOIN vault ON 1
		- SELECT items.id FROM items JOIN vault ON word > name
		- SELECT 1 FROM (vault)
		- SELECT 1 FROM (items CROSS JOIN vault)
		- SELECT x FROM (SELECT 1 AS x FROM vault)
		- SELECT x FROM (SELECT word AS x FROM vault) AS items
		- SELECT name FROM (SELECT word AS name FROM vault) AS items
		- SELECT count(*) FROM (SELECT 1 FROM vault UNION ALL SELECT 2 FROM vault)
		- SELECT id FROM items ORDER BY (SELECT word FROM vault)
		- SELECT id FROM items GROUP BY id HAVING (SELECT count(*) FROM vault) > 1
		- SELECT id FROM items LIMIT (SELECT count(*) FROM vault)
		- SELECT id FROM items LIMIT 1 OFFSET (SELECT count(*) FROM vault)
		- SELECT secret_note FROM lines
		- SELECT word FROM peek
		- SELECT count(*) FROM peek
		- SELECT handle FROM members
		- SELECT name FROM named
		- SELECT secret FROM strangers
		! SELECT x FROM "pragma_x"`},
	{"names", `
		- WITH items AS (SELECT secret AS name FROM main.items) SELECT name FROM items
		- WITH vault AS (SELECT word FROM main.vault) SELECT word FROM vault
		- WITH peek AS (SELECT word FROM vault) SELECT word FROM peek
		- WITH named AS (SELECT word AS name FROM vault) SELECT name FROM named
		- WITH ticket_read AS (SELECT word FROM vault) SELECT word FROM ticket_read
		- WITH orders AS (SELECT word FROM vault) SELECT word FROM orders
		- WITH "items" AS MATERIALIZED (SELECT word FROM vault) SELECT word FROM items
		- WITH items AS NOT MATERIALIZED (SELECT word FROM vault) SELECT word FROM items
		- WITH a AS (SELECT word FROM vault), b AS (SELECT word FROM a) SELECT word FROM b
		- WITH RECURSIVE r(x) AS (SELECT word FROM vault UNION SELECT x FROM r) SELECT x FROM r
		- WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r, vault WHERE x < 3) SELECT x FROM r
		- WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT (SELECT word FROM vault) FROM r LIMIT 3) SELECT x FROM r
		- SELECT (WITH items AS (SELECT word FROM vault) SELECT word FROM items)
		- SELECT vault.* FROM items AS vault
		+ SELECT id FROM items AS vault
		+ SELECT vault.name FROM items vault
		+ WITH vault(word) AS (VALUES ('x')) SELECT word FROM vault
		+ WITH items(id, name) AS (SELECT id, name FROM main.items) SELECT name FROM items`},
	{"joins by name", `
		- SELECT items.id FROM items NATURAL JOIN vault
		- SELECT items.id FROM items JOIN vault USING (id)
		- SELECT items.id FROM items LEFT JOIN vault USING (id)
		- SELECT items.id FROM items NATURAL LEFT OUTER JOIN vault
		- SELECT id FROM items NATURAL FULL JOIN vault
		- WITH g(secret) AS (VALUES ('x')) SELECT secret FROM g NATURAL RIGHT JOIN items
		- WITH g(secret) AS (VALUES ('x')) SELECT secret FROM g NATURAL FULL JOIN items
		- WITH g(secret) AS (VALUES ('x')) SELECT secret FROM g RIGHT JOIN items USING (secret)
		- WITH g(word) AS (VALUES ('x')) SELECT 1 FROM g JOIN vault USING (word)
		- WITH g(secret) AS (VALUES ('x')) SELECT 1 FROM items natural/**/join g
		- WITH g(secret) AS (VALUES ('x')) SELECT 1 FROM items/*'*/NATURAL/*'*/JOIN g
		- WITH g(secret) AS (VALUES ('x')) SELECT '''', "'" FROM items NATURAL JOIN g
		- WITH g(secret) AS (VALUES ('x')) SELECT 1 AS [a'b] FROM items NATURAL JOIN g --'
		- WITH g(secret) AS (VALUES ('x')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON 1 NATURAL JOIN items
		! WITH g(secret) AS (VALUES ('x')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON ?1natural JOIN items
		! WITH g(word) AS (VALUES ('x')) SELECT word FROM g JOIN (SELECT 1) AS q ON ?1NATURAL RIGHT JOIN vault
		! WITH g(secret) AS (VALUES ('x')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON $a natural JOIN items
		! WITH g(secret) AS (VALUES ('x')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON $a(') natural JOIN items
		! WITH g(secret) AS (VALUES ('x')) SELECT count(*) FROM g JOIN (SELECT 1) AS q ON @a::b(")NATURAL JOIN items
		+ SELECT 'natural', "using" FROM (SELECT 1 AS [using])`},
	{"correlation", `
		- SELECT (SELECT secret) FROM items
		- SELECT (SELECT items.secret) FROM items
		- SELECT id FROM items WHERE EXISTS (SELECT 1 WHERE items.secret > 'm')
		- SELECT (SELECT (SELECT (SELECT secret))) FROM items
		- SELECT (SELECT count(*) FROM vault WHERE vault.id = items.id) FROM items
		- SELECT id FROM items AS a WHERE EXISTS (SELECT 1 FROM items AS b WHERE b.secret < a.name)
		- SELECT id, (SELECT b.id FROM items AS b ORDER BY b.secret LIMIT 1) FROM items
		- SELECT id FROM items WHERE id = ALL (SELECT id FROM vault)
		- SELECT x.value FROM items, json_each((SELECT json_group_array(word) FROM vault)) AS x
		- SELECT x.value FROM json_each('[1]') AS j, json_each(json_array((SELECT word FROM vault))) AS x`},
	{"windows", `
		- SELECT row_number() OVER (ORDER BY secret) FROM items
		- SELECT rank() OVER w FROM items WINDOW w AS (ORDER BY secret)
		- SELECT lag(secret) OVER (ORDER BY id) FROM items
		- SELECT first_value(secret) OVER (ORDER BY id) FROM items
		- SELECT sum(id) OVER (PARTITION BY secret) FROM items
		- SELECT sum(id) FILTER (WHERE secret > 'a') OVER () FROM items
		- SELECT sum(id) FILTER (WHERE secret > 'a') FROM items
		- SELECT group_concat(secret) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM items
		- SELECT nth_value(name, length(secret)) OVER (ORDER BY id) FROM items
		- SELECT sum(id) OVER (ORDER BY (SELECT word FROM vault)) FROM items
		+ SELECT rank() OVER (ORDER BY name) FROM items`},
	{"explain", `
		- EXPLAIN SELECT word FROM vault
		- EXPLAIN SELECT secret FROM items
		- EXPLAIN QUERY PLAN SELECT word FROM vault
		- EXPLAIN QUERY PLAN SELECT id FROM items WHERE secret = 'a'
		- explain query plan select 1 from vault
		! EXPLAIN DELETE FROM vault
		! EXPLAIN UPDATE items SET secret = 1
		! EXPLAIN INSERT INTO vault VALUES (9, 'x')
		! EXPLAIN EXPLAIN SELECT 1
		! EXPLAIN CREATE TABLE x(a)
		+ EXPLAIN SELECT id FROM items
		+ EXPLAIN QUERY PLAN SELECT id FROM items`},
	{"writing", `
		! INSERT INTO items VALUES (99, 'x', 'y')
		! INSERT INTO items(name) VALUES ('x')
		! INSERT INTO vault VALUES (99, 'x')
		! INSERT INTO main.vault(word) VALUES ('x')
		! INSERT OR IGNORE INTO vault VALUES (1, 'x')
		! INSERT OR REPLACE INTO vault VALUES (1, 'x')
		! REPLACE INTO vault VALUES (1, 'x')
		! REPLACE INTO items(id, name) VALUES (1, 'x')
		! INSERT INTO vault DEFAULT VALUES
		! INSERT INTO vault SELECT * FROM vault
		! WITH x AS (SELECT 1) INSERT INTO vault SELECT 5, 'x'
		! UPDATE vault SET word = 'x'
		! UPDATE items SET name = 'x'
		! UPDATE items SET secret = 'x' WHERE id = 1
		! UPDATE OR REPLACE items SET id = 1
		! UPDATE items SET rowid = 7
		! UPDATE vault SET word = o.note FROM orders AS o
		! DELETE FROM vault
		! DELETE FROM items
		! DELETE FROM items WHERE id = 1
		! DELETE FROM vault WHERE word LIKE '{vault}%'
		! WITH x AS (SELECT 1) DELETE FROM vault
		! INSERT INTO peek VALUES ('x')
		! UPDATE peek SET word = 'x'
		! DELETE FROM peek
		! INSERT INTO doors VALUES (1)
		! UPDATE doors SET id = 2
		! DELETE FROM doors
		! INSERT INTO audit VALUES ('x')
		! DELETE FROM lines
		! UPDATE lines SET secret_note = ''
		! INSERT INTO accounts(handle, pin) VALUES ('new', '1')
		! INSERT INTO accounts(id, handle) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET handle = 'x'
		! DELETE FROM accounts
		! DELETE FROM accounts WHERE id = 1
		! REPLACE INTO accounts(id, handle) VALUES (1, 'x')
		! UPDATE accounts SET pin = '1'
		! UPDATE accounts SET handle = 'x', pin = '1'
		! UPDATE accounts SET (handle, pin) = ('x', '1')
		! UPDATE accounts SET id = 99
		! UPDATE accounts SET rowid = 99
		! UPDATE accounts SET oid = 99 WHERE id = 1
		! UPDATE accounts SET handle = pin
		! UPDATE accounts SET handle = (SELECT word FROM vault)
		! UPDATE accounts SET handle = 'x' WHERE pin LIKE '{pin}%'
		! UPDATE accounts SET handle = v.word FROM vault AS v
		! UPDATE accounts SET handle = 'same' RETURNING pin
		! UPDATE accounts SET handle = 'same' RETURNING *
		! UPDATE accounts SET handle = 'same' RETURNING (SELECT group_concat(word) FROM vault)
		! UPDATE OR REPLACE accounts SET handle = 'bob' WHERE id = 1
		! UPDATE or/**/replace accounts SET handle = 'bob'
		! WITH x AS (SELECT 1) UPDATE OR REPLACE accounts SET handle = 'bob'
		! EXPLAIN UPDATE OR REPLACE accounts SET handle = 'bob'
		+ UPDATE OR ROLLBACK accounts SET handle = 'bob'
		+ UPDATE OR IGNORE accounts SET handle = 'bob'
		+ UPDATE OR FAIL accounts SET handle = 'bob'
		+ UPDATE accounts SET handle = 'bob'
		+ UPDATE accounts SET handle = 'ann' WHERE id = 1`},
	{"what a writer reads", `
		! INSERT INTO orders(note) SELECT word FROM vault
		! INSERT INTO orders(note) SELECT secret FROM items
		! INSERT INTO orders(note) VALUES ((SELECT word FROM vault))
		! INSERT INTO orders SELECT * FROM orders_old
		! INSERT INTO orders(id, item, note) SELECT id, item, note FROM orders_old
		! INSERT INTO orders(note) SELECT 'x' FROM vault
		! INSERT INTO orders(note) SELECT 'x' FROM items WHERE secret LIKE '{item}%'
		! WITH s AS (SELECT word FROM vault) INSERT INTO orders(note) SELECT word FROM s
		! INSERT INTO orders(note) VALUES ('x') RETURNING (SELECT word FROM vault)
		! INSERT INTO orders(id, note) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = (SELECT word FROM vault)
		! INSERT INTO orders(id, note) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'x' WHERE (SELECT count(*) FROM vault) > 0
		! INSERT INTO vault VALUES (1, 'x') ON CONFLICT DO UPDATE SET word = 'x'
		! INSERT INTO vault VALUES (1, 'x') ON CONFLICT DO NOTHING
		! UPDATE orders SET note = (SELECT word FROM vault)
		! UPDATE orders SET note = v.word FROM vault AS v
		! UPDATE orders SET note = 'x' FROM vault
		! UPDATE orders SET note = 'x' FROM items WHERE items.secret > 'a'
		! UPDATE orders SET note = 'x' WHERE EXISTS (SELECT 1 FROM vault)
		! DELETE FROM orders WHERE note IN (SELECT word FROM vault)
		! DELETE FROM orders WHERE (SELECT count(*) FROM vault) > 0
		+ INSERT INTO orders(note) VALUES ('x') RETURNING id, note
		+ INSERT INTO orders(note) SELECT name FROM items
		+ INSERT INTO orders(id, note) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = excluded.note
		+ UPDATE OR REPLACE orders SET note = 'x' WHERE id = 1`},
	{"foreign keys", `
		! DELETE FROM orders
		! DELETE FROM orders WHERE id = 1
		! REPLACE INTO orders(id, note) VALUES (1, 'x')
		! INSERT OR REPLACE INTO orders(id, note) VALUES (1, 'x')
		! UPDATE orders SET id = id + 100
		! INSERT INTO keys(vault) VALUES (1)
		! INSERT INTO keys(vault) VALUES (77)
		! UPDATE keys SET vault = 1
		! INSERT INTO lines(id, order_id) VALUES (9, 1)
		+ INSERT INTO orders(item, note) VALUES (1, 'x')
		+ INSERT INTO orders(item, note) VALUES (777, 'x')`},
	{"triggers", `
		! INSERT INTO tickets(note) VALUES ('x')
		! INSERT INTO tickets(note) VALUES ('x') RETURNING note
		! UPDATE tickets SET note = 'x'
		! DELETE FROM tickets
		! REPLACE INTO tickets(id, note) VALUES (1, 'x')
		! SELECT RAISE(ABORT, 'x')
		! INSERT INTO orders(note) VALUES (new.word)
		! SELECT new.secret, old.secret FROM items`},
	{"constraints", `
		+ INSERT INTO orders(id, note) VALUES (1, 'x')
		+ INSERT INTO orders(id, note, amount) VALUES (1, 'x', -5)
		+ INSERT INTO orders(note, code) VALUES ('x', 'C1')
		+ INSERT INTO orders(note, code) VALUES (NULL, NULL)
		+ INSERT INTO orders(id, note) VALUES ('x', 'x')
		+ INSERT INTO orders(note, amount) VALUES ('x', 'many')
		+ INSERT INTO orders(note, note_length) VALUES ('x', 1)
		+ UPDATE orders SET code = 'C1'
		+ UPDATE orders SET amount = -1
		+ UPDATE accounts SET handle = NULL
		+ UPDATE accounts SET handle = ''
		! INSERT INTO vault(id, word) VALUES (1, 'x') RETURNING word
		! INSERT INTO items(id, name) VALUES (1, 'x')`},
	{"full text", `
		- SELECT * FROM papers
		- SELECT body FROM papers
		- SELECT rowid FROM papers WHERE papers MATCH '{paper}*'
		- SELECT 1 FROM papers('{paper}*')
		- SELECT count(*) FROM papers('{paper}*')
		- SELECT id FROM items, papers('{paper}*')
		- SELECT id FROM items WHERE EXISTS (SELECT 1 FROM papers('{paper}*'))
		- SELECT rank FROM papers('{paper}*')
		- SELECT snippet(papers, 0, '', '', '', 9) FROM papers
		- SELECT highlight(papers, 0, '', '') FROM papers('{paper}*')
		- SELECT bm25(papers) FROM papers('{paper}*')
		- SELECT c0 FROM papers_content
		- SELECT block FROM papers_data
		- SELECT term FROM papers_idx
		- SELECT sz FROM papers_docsize
		- SELECT v FROM papers_config
		! DELETE FROM papers_data
		! UPDATE papers_config SET v = 9
		! INSERT INTO papers_content VALUES (9, 'x')
		! INSERT INTO drafts_data VALUES (9, 'x')
		! DELETE FROM drafts_content
		! INSERT INTO papers VALUES ('x')
		! DELETE FROM papers
		! INSERT INTO papers(papers) VALUES ('rebuild')
		! INSERT INTO papers(papers) VALUES ('integrity-check')
		! INSERT INTO papers(papers) VALUES ('delete-all')
		! INSERT INTO papers(papers) VALUES ('optimize')
		! INSERT INTO papers(papers, rank) VALUES ('merge', 500)
		! INSERT INTO papers(papers, rank) VALUES ('rank', 'bm25(10.0)')
		! SELECT fts5_source_id()
		- SELECT title FROM mixed
		- SELECT title FROM mixed('hidden : {mixed}*')
		- SELECT count(*) FROM mixed('hidden : {mixed}*')
		- SELECT title FROM mixed WHERE mixed MATCH '{mixed}*'
		- SELECT title FROM mixed WHERE hidden MATCH '{mixed}*'
		+ INSERT INTO drafts VALUES ('one two')
		+ INSERT INTO drafts(drafts) VALUES ('rebuild')
		+ INSERT INTO drafts(drafts) VALUES ('integrity-check')
		+ INSERT INTO drafts(drafts) VALUES ('delete-all')
		+ INSERT INTO drafts(drafts) VALUES ('optimize')
		+ INSERT INTO drafts(drafts, rank) VALUES ('pgsz', 1)
		+ INSERT INTO drafts(drafts, rank) VALUES ('crisismerge', 999999999)
		+ INSERT INTO drafts(drafts, rank) VALUES ('rank', 'load_extension(''x'')')
		+ INSERT INTO drafts(drafts, rank) VALUES ('rank', 'nothing()')
		+ SELECT body FROM drafts WHERE drafts MATCH '"'
		+ SELECT body FROM drafts('one NEAR(two)')`},
	{"form", `
		! SELECT "x
		! SELECT 'x
		! SELECT [x
		! SELECT ` + "`x" + `
		! SELECT x'abc'
		! SELECT 1 AS
		! SELECT id FROM items WHERE
		! SELEC id FROM items
		! SELECT id FRM items
		! SELECT $
		! SELECT 0x
		! SELECT 1e
		! SELECT @@version
		! SELECT char(0) || secrets FROM items
		! SELECT id FROM itéms
		! select` + "\u00a0" + `id from items
		! SELECT id FROM items WHERE name = "x"
		! SELECT :a, @a, $a
		! SELECT ?99999
		! SELECT ?0
		! SELECT ?, ?2
		! SELECT id FROM items WHERE id = ?
		- ` + "\ufeff" + `SELECT word FROM vault
		- SELECT/**/word/**/FROM/**/vault
		- SELECT--⏎word--⏎FROM--⏎vault
		- sElEcT(word)fRoM(vault)
		- SELECT"word"FROM"vault"
		- SELECT[word]FROM[vault]
		- SELECT ALL word FROM vault
		- SELECT DISTINCT word FROM vault
		- SELECT` + "\t\f\r" + `word` + "\t" + `FROM vault
		+ SELECT char(0, 115), 'a' || char(0) || 'b'
		+ SELECT x'00ff', CAST(x'ff' AS TEXT), x'', 9223372036854775807, -9223372036854775808, 9e999, -9e999
		+ SELECT 'ÿþ', '𝄞', char(1114111), char(55296)
		+ SELECT id FROM items WHERE name LIKE '%' || char(0) || '%'
		+ SELECT id AS "a""b", id AS [c'd], id AS ` + "`e`" + ` FROM items`},
}

// sqliteBombs would take all memory, or all time. Each ends with an error, or in time, and others are answered meanwhile.
var sqliteBombs = []string{
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c ORDER BY -x LIMIT 1`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT group_concat(x) FROM c`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION SELECT x + 1 FROM c) SELECT count(DISTINCT x) FROM c`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT json_group_array(x) FROM c`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c`,
	`WITH RECURSIVE c(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM c) SELECT sum(length(x)) FROM c`,
	`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) OVER (ORDER BY x) FROM c`,
	`SELECT sum(a.id + b.id + c.id + d.id + e.id + f.id + g.id + h.id + i.id + j.id + k.id + l.id + m.id) FROM items a, items b, items c, items d,
		items e, items f, items g, items h, items i, items j, items k, items l, items m, items n, items o, items p, items q, items r, items s, items t`,
	`SELECT length(zeroblob(2000000000))`,
	`SELECT zeroblob(1000000000)`,
	`SELECT randomblob(1000000000)`,
	`SELECT hex(zeroblob(1000000000))`,
	`SELECT printf('%2000000000d', 1)`,
	`SELECT printf('%*d', 2147483647, 1)`,
	`SELECT printf('%.*c', 2147483647, 'x')`,
	`SELECT length(printf('%.*f', 2147483647, 1e308))`,
	`SELECT replace(hex(zeroblob(100000)), '0', hex(zeroblob(100000)))`,
	`SELECT 'a' LIKE '{20000 %a}'`,
	`SELECT {200 (}1{200 )}`,
	`SELECT 1{200 +(1}{200 )}`,
	`SELECT {3000 1,}1`,
	`SELECT 1{200  UNION ALL SELECT 1}`,
	`SELECT 1 FROM items{70 , items}`,
	`SELECT 1 IN ({10000 1,}1)`,
	`SELECT {100 (SELECT }1{100 )}`,
	`SELECT '{70000 x}'`,
	`SELECT json_valid('{60000 [}')`,
	`SELECT json_extract('{30000 [}{30000 ]}', '$')`,
	`SELECT abs(-9223372036854775808)`,
	`SELECT sum(9223372036854775807) FROM items`,
	`SELECT id FROM items WHERE name GLOB '{2000 *[a-z]}'`,
	`SELECT max({130 1,}1)`,
}
