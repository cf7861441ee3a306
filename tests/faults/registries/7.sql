BEGIN TRANSACTION;
CREATE TABLE addresses (
            stack TEXT NOT NULL, service TEXT NOT NULL, network TEXT NOT NULL, subnet TEXT NOT NULL,
            address TEXT NOT NULL, since TEXT NOT NULL,
            PRIMARY KEY (stack, service, network, subnet)) WITHOUT ROWID;
INSERT INTO "addresses" VALUES('shop','web','shop_default','10.201.0.0/26','10.201.0.62','2026-11-01T12:00:00.000250+00:00');
CREATE TABLE built_images (
        image_id TEXT PRIMARY KEY, stack TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "built_images" VALUES('sha256:1111111111111111111111111111111111111111111111111111111111111111','shop','2026-11-01T12:00:00.000250+00:00');
CREATE TABLE generations (stack TEXT, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (stack, number));
INSERT INTO "generations" VALUES('shop',1,'{"stack":"shop","number":1,"digest":"d1","created_at":"2026-11-01T12:00:00Z","run":"r1","outcome":"superseded","changed":["web"],"time_to_ready_s":1.5,"flow_run_id":null,"by":"","details":{}}');
INSERT INTO "generations" VALUES('shop',2,'{"stack":"shop","number":2,"digest":"d2","created_at":"2026-11-01T12:00:00Z","run":"r2","outcome":"current","changed":["web"],"time_to_ready_s":1.5,"flow_run_id":null,"by":"","details":{}}');
CREATE TABLE leased_blocks (
        protocol TEXT NOT NULL, block INTEGER NOT NULL, ports INTEGER NOT NULL, PRIMARY KEY (protocol, block)
        ) WITHOUT ROWID;
INSERT INTO "leased_blocks" VALUES('tcp',31,2);
CREATE TABLE leases (
            stack TEXT NOT NULL, service TEXT NOT NULL, target INTEGER NOT NULL, protocol TEXT NOT NULL,
            slot INTEGER NOT NULL, port INTEGER NOT NULL, count INTEGER NOT NULL, wanted INTEGER,
            host_ip TEXT NOT NULL, since TEXT NOT NULL,
            run TEXT,       -- the run that has not committed it; NULL: committed
            previous TEXT, skipped TEXT NOT NULL DEFAULT '[]',  -- the committed lease (JSON) that it replaces until then; NULL: it is new
            PRIMARY KEY (stack, service, target, protocol, slot));
INSERT INTO "leases" VALUES('shop','web',80,'tcp',0,8000,1,8000,'127.0.0.1','2026-11-01T12:00:00+00:00',NULL,NULL,'[]');
INSERT INTO "leases" VALUES('shop','api',80,'tcp',0,8001,1,8001,'127.0.0.1','2026-11-01T12:00:00+00:00','r3',NULL,'[]');
CREATE TABLE memory_peaks (
        stack TEXT NOT NULL, service TEXT NOT NULL, bytes INTEGER NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (stack, service)) WITHOUT ROWID;
INSERT INTO "memory_peaks" VALUES('shop','web',50000000,'2026-11-01T12:00:00.000250+00:00');
CREATE TABLE missing_directories (
            stack TEXT PRIMARY KEY, path TEXT NOT NULL, since TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "missing_directories" VALUES('shop','/home/susan/shop','2026-11-01T12:00:00+00:00');
CREATE TABLE runs (id TEXT PRIMARY KEY, stack TEXT NOT NULL, finished_at TEXT, record TEXT NOT NULL, operation TEXT NOT NULL DEFAULT '', services TEXT NOT NULL DEFAULT '[]', outcome TEXT, started_at TEXT NOT NULL DEFAULT '', has_timeline INTEGER NOT NULL DEFAULT 0);
INSERT INTO "runs" VALUES('r2','shop','2026-11-01T12:00:00+00:00','{"id":"r2","stack":"shop","operation":"up","pid":7,"host":"laptop","started_at":"2026-11-01T12:00:00Z","previous_generation":null,"generation":null,"before":{},"arguments":{},"flow_run_id":null,"finished_at":"2026-11-01T12:00:00Z","outcome":"committed"}','up','[]','committed','2026-11-01T12:00:00Z',0);
INSERT INTO "runs" VALUES('r3','shop',NULL,'{"id":"r3","stack":"shop","operation":"up","pid":8,"host":"laptop","started_at":"2026-11-01T12:00:00Z","previous_generation":2,"generation":null,"before":{"containers":{},"networks":[],"volumes":["shop_data"],"tags":[],"leases":[],"on_record":true},"arguments":{},"flow_run_id":null,"finished_at":null,"outcome":null}','up','[]',NULL,'2026-11-01T12:00:00Z',0);
CREATE TABLE set_aside (path TEXT NOT NULL);
CREATE TABLE stacks (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "stacks" VALUES('shop','{"name":"shop","path":"/home/susan/shop","created_at":"2026-11-01T12:00:00Z","generation":2,"expires_at":null,"repository":null,"branch":null}');
CREATE TABLE subnets (
            stack TEXT NOT NULL, network TEXT NOT NULL, subnet TEXT NOT NULL UNIQUE, since TEXT NOT NULL,
            PRIMARY KEY (stack, network)) WITHOUT ROWID;
INSERT INTO "subnets" VALUES('shop','shop_default','10.201.0.0/26','2026-11-01T12:00:00+00:00');
CREATE TABLE timings (
            stack TEXT NOT NULL, service TEXT NOT NULL, phase TEXT NOT NULL, generation INTEGER NOT NULL,
            seconds REAL NOT NULL, at TEXT NOT NULL);
INSERT INTO "timings" VALUES('shop','web','ready',2,1.5,'2026-11-01T12:00:00+00:00');
CREATE UNIQUE INDEX one_lease_a_port ON leases (port, protocol, host_ip);
CREATE INDEX leases_of_run ON leases (run) WHERE run IS NOT NULL;
CREATE INDEX runs_of_stack ON runs (stack);
CREATE INDEX unfinished ON runs (stack) WHERE finished_at IS NULL;
CREATE INDEX timings_of_service ON timings (stack, service, phase);
CREATE INDEX run_heads ON runs
            (stack, id, operation, services, outcome, started_at, finished_at, has_timeline);
CREATE INDEX timings_by_age ON timings (stack, at);
CREATE INDEX wide_leases ON leases (port) WHERE count <> 1 OR skipped <> '[]' OR previous IS NOT NULL;
CREATE TRIGGER lease_added AFTER INSERT ON leases WHEN NOT EXISTS (SELECT 1 FROM leases WHERE port = NEW.port AND protocol = NEW.protocol
                            AND host_ip <> NEW.host_ip) BEGIN INSERT INTO leased_blocks VALUES (NEW.protocol, NEW.port / 256, 1)
    ON CONFLICT (protocol, block) DO UPDATE SET ports = ports + 1; END;
CREATE TRIGGER lease_gone AFTER DELETE ON leases WHEN NOT EXISTS (SELECT 1 FROM leases WHERE port = OLD.port AND protocol = OLD.protocol
                            AND host_ip <> OLD.host_ip) BEGIN UPDATE leased_blocks SET ports = ports - 1
    WHERE protocol = OLD.protocol AND block = OLD.port / 256; END;
CREATE INDEX built_by_age ON built_images (at);
PRAGMA user_version = 7;
COMMIT;
