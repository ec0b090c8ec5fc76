"""The SQL that reads the objects of a schema other than tables, indexes and enums.

The queries are parts of the statement of `schema_queries` and use its common tables.
"""
# ruff: noqa: S608 -- the queries are composed of constants only

# Below it are the OIDs of the objects that initdb made.
FIRST_USER_OID = 16384

# Each yields rows of: name, definition, columns, conditions, type, range (the last four: or NULL).
OBJECTS = {
    "schema": """
SELECT 'schema ' || quote_ident(nspname), '', NULL::json, NULL::json, NULL::text, NULL::json
FROM namespace WHERE NOT EXISTS (
    SELECT FROM part WHERE classid = 'pg_namespace'::regclass AND objid = namespace.oid
)
""",
    "extension": f"""
SELECT 'extension ' || quote_ident(extname),
    format('SCHEMA %I VERSION %L', extnamespace::regnamespace::name, extversion),
    NULL, NULL, NULL, NULL
FROM pg_extension WHERE oid >= {FIRST_USER_OID}
""",
    "view": """
SELECT CASE relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || name,
    concat_ws(E'\n', 'WITH (' || array_to_string(reloptions, ', ') || ') AS',
        pg_get_viewdef(relation.oid)),
    (
        SELECT json_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    ), NULL, NULL, NULL
FROM relation WHERE relkind IN ('v', 'm')
""",
    "sequence": """
SELECT 'sequence ' || name,
    concat_ws(' ', 'AS ' || format_type(seqtypid, NULL), nullif(options, ''), (
        SELECT format('OWNED BY %s.%I', refobjid::regclass, attname) FROM pg_attribute
        WHERE attrelid = refobjid AND attnum = refobjsubid
    )),
    NULL, NULL, NULL,
    json_build_object('increment', seqincrement, 'minimum', seqmin, 'maximum', seqmax)
FROM sequence WHERE deptype IS DISTINCT FROM 'i'
""",
    # pg_get_functiondef refuses aggregates. What a range type makes for itself is a part of it.
    "function": """
SELECT concat(CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
        format(' %I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(function.oid))),
    CASE prokind
        WHEN 'a' THEN (
            SELECT string_agg(key || ' = ' || value, ', ' ORDER BY key)
            FROM pg_aggregate, jsonb_each_text(to_jsonb(pg_aggregate)) WHERE aggfnoid = function.oid
        )
        ELSE pg_get_functiondef(function.oid)
    END, NULL, NULL, NULL, NULL
FROM pg_proc AS function JOIN namespace ON namespace.oid = pronamespace
WHERE NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_proc'::regclass AND objid = function.oid AND deptype IN ('e', 'i')
)
""",
    "composite type": """
SELECT 'type ' || data_type.name,
    'AS (' || string_agg(
        quote_ident(attname) || ' ' || format_type(atttypid, atttypmod)
        || CASE WHEN attcollation <> typ.typcollation
            THEN ' COLLATE ' || attcollation::regcollation ELSE '' END,
        ', ' ORDER BY attnum
    ) || ')',
    coalesce(json_agg(quote_ident(attname) ORDER BY attnum) FILTER (WHERE attnum > 0), '[]'),
    NULL, NULL, NULL
FROM data_type JOIN pg_class AS class ON class.oid = data_type.typrelid AND class.relkind = 'c'
LEFT JOIN pg_attribute ON attrelid = class.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_type AS typ ON typ.oid = atttypid
GROUP BY data_type.name
""",
    # Not the array type that every type has, nor the multirange that a range has.
    "range and base type": """
SELECT 'type ' || name,
    CASE typtype
        WHEN 'r' THEN (
            SELECT concat_ws(', ', 'AS RANGE (SUBTYPE = ' || format_type(rngsubtype, NULL),
                'COLLATION = ' || nullif(rngcollation, 0)::regcollation,
                'CANONICAL = ' || nullif(rngcanonical::oid, 0)::regproc,
                'SUBTYPE_DIFF = ' || nullif(rngsubdiff::oid, 0)::regproc) || ')'
            FROM pg_range WHERE rngtypid = data_type.oid
        )
        ELSE format('(INPUT = %s, OUTPUT = %s, INTERNALLENGTH = %s)', typinput, typoutput, typlen)
    END, NULL, NULL, NULL, NULL
FROM data_type
WHERE typtype IN ('b', 'r')
    AND NOT EXISTS (SELECT FROM pg_type AS item WHERE item.typarray = data_type.oid)
""",
    "domain": """
SELECT 'domain ' || name,
    concat_ws(' ', 'AS ' || format_type(typbasetype, typtypmod),
        (
            SELECT 'COLLATE ' || data_type.typcollation::regcollation FROM pg_type AS base
            WHERE base.oid = data_type.typbasetype AND base.typcollation <> data_type.typcollation
        ),
        'DEFAULT ' || typdefault),
    NULL,
    (
        SELECT json_agg(condition ORDER BY condition) FROM (
            SELECT format('CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE contypid = data_type.oid AND contype = 'c'
            UNION ALL SELECT 'NOT NULL' WHERE typnotnull
        ) AS conditions(condition)
    ),
    format_type(typbasetype, typtypmod), NULL
FROM data_type WHERE typtype = 'd'
""",
    # A partition has copies of its parent's triggers.
    "trigger": """
SELECT format('trigger %I on %s', tgname, name),
    concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), CASE tgenabled
        WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'ENABLED REPLICA' WHEN 'A' THEN 'ENABLED ALWAYS'
    END), NULL, NULL, NULL, NULL
FROM pg_trigger JOIN relation ON relation.oid = tgrelid
WHERE NOT tgisinternal AND tgparentid = 0
""",
    "policy": """
SELECT format('policy %I on %s', polname, name),
    concat_ws(' ', CASE WHEN polpermissive THEN 'AS PERMISSIVE' ELSE 'AS RESTRICTIVE' END,
        'FOR ' || CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
            WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
        'TO ' || (
            SELECT string_agg(
                CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END,
                ', ' ORDER BY role
            ) FROM unnest(polroles) AS role
        ),
        'USING (' || pg_get_expr(polqual, polrelid) || ')',
        'WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')'
    ), NULL, NULL, NULL, NULL
FROM pg_policy JOIN relation ON relation.oid = polrelid
""",
    # _RETURN is how PostgreSQL stores a view.
    "rule": """
SELECT format('rule %I on %s', rulename, name),
    concat_ws(' ', pg_get_ruledef(pg_rewrite.oid), 'ENABLED ' || nullif(ev_enabled::text, 'O')),
    NULL, NULL, NULL, NULL
FROM pg_rewrite JOIN relation ON relation.oid = ev_class WHERE rulename <> '_RETURN'
""",
}

# Objects that applications seldom create. Their rows in these catalogs are their definitions.
OTHER_CATALOGS = (
    *("pg_am", "pg_cast", "pg_collation", "pg_conversion", "pg_foreign_data_wrapper"),
    *("pg_foreign_server", "pg_language", "pg_operator", "pg_opclass", "pg_opfamily"),
    *("pg_transform", "pg_ts_config", "pg_ts_dict", "pg_ts_parser", "pg_ts_template"),
)
# Nothing is lost with these: no data, and nothing that an application's queries name.
STATEMENT_CATALOGS = (
    *("pg_event_trigger", "pg_publication", "pg_publication_namespace", "pg_publication_rel"),
    "pg_statistic_ext",
)

# One query for all these catalogs: PostgreSQL takes longer to plan one for each than to run them.
CATALOG_OBJECTS = """
SELECT is_statement, identified.type || ' ' || identified.identity AS name,
    concat_ws(', ',
        -- what a row does not say, or not so that people can read it
        CASE classid
            WHEN 'pg_statistic_ext'::regclass THEN pg_get_statisticsobjdef(item.oid)
            WHEN 'pg_cast'::regclass
                THEN nullif((row ->> 'castfunc')::oid, 0)::regprocedure::text
            WHEN 'pg_ts_config'::regclass THEN (
                SELECT string_agg(format('%s: %s', maptokentype, mapdict::regdictionary), ', '
                    ORDER BY maptokentype, mapseqno)
                FROM pg_ts_config_map WHERE mapcfg = item.oid
            )
        END,
        (
            SELECT string_agg(key || ' = ' || value, ', ' ORDER BY key) FROM jsonb_each_text(row)
            WHERE key !~ '(^oid|owner|acl|version|keys|exprs)$' AND value <> ''
                -- The OID of another object of the application differs after a restore.
                AND CASE WHEN value ~ '^[0-9]+$' THEN value::numeric < $FIRST ELSE true END
        )
    ) AS definition
FROM ($ITEMS) AS item, pg_identify_object(classid, oid, 0) AS identified
WHERE coalesce(identified.schema, '') !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE pg_depend.classid = item.classid AND objid = item.oid AND deptype IN ('e', 'i')
)
"""
