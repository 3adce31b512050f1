//! The dependency rule and other rules about the shape of the code, as tests.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        path::{Path, PathBuf},
        process::Command,
    };

    /// Each crate and the crates it may depend on, development dependencies aside. A new arrow is a decision: change
    /// this table and say why in docs/ARCHITECTURE.md. A crate that is not listed fails the test.
    const ALLOWED: &[(&str, &[&str])] = &[
        ("onsale-domain", &["chrono", "hex", "serde", "sha2", "thiserror", "uuid"]),
        (
            "onsale-application",
            &[
                "onsale-domain",
                "async-trait",
                "chrono",
                "parking_lot",
                "roaring",
                "thiserror",
                "tokio",
                "tracing",
                "uuid",
            ],
        ),
        (
            "onsale-infrastructure",
            &[
                "onsale-application",
                "onsale-domain",
                "argon2",
                "async-trait",
                "base64",
                "chrono",
                "deadpool-redis",
                "diesel",
                "diesel-async",
                "diesel_migrations",
                "ed25519-dalek",
                "futures-util",
                "hex",
                "hmac",
                "jsonwebtoken",
                "moka",
                "parking_lot",
                "rand",
                "rustls",
                "serde",
                "serde_json",
                "sha2",
                "tokio",
                "tracing",
                "uuid",
            ],
        ),
        (
            "onsale-http-api",
            &[
                "onsale-application",
                "onsale-domain",
                "actix-cors",
                "actix-web",
                "brotli",
                "bytes",
                "chrono",
                "flate2",
                "futures-util",
                "governor",
                "hex",
                "moka",
                "parking_lot",
                "png",
                "prometheus",
                "qrcode",
                "serde",
                "serde_json",
                "serde_path_to_error",
                "sha2",
                "socket2",
                "tokio",
                "tokio-util",
                "tracing",
                "utoipa",
                "utoipa-actix-web",
                "utoipa-swagger-ui",
                "uuid",
                "zstd",
            ],
        ),
        ("onsale-local-stack", &["nix", "redis", "thiserror", "tokio", "tracing"]),
        (
            "onsale-server",
            &[
                "onsale-http-api",
                "onsale-infrastructure",
                "onsale-application",
                "onsale-domain",
                "onsale-local-stack",
                "base64",
                "chrono",
                "clap",
                "diesel",
                "diesel-async",
                "hdrhistogram",
                "hex",
                "mimalloc",
                "plotters",
                "httparse",
                "nix",
                "prometheus",
                "rand",
                "redis",
                "reqwest",
                "serde",
                "serde_json",
                "thiserror",
                "tokio",
                "tokio-util",
                "toml",
                "tracing",
                "tracing-subscriber",
                "uuid",
            ],
        ),
        (
            "onsale-test-support",
            &[
                "onsale-server",
                "onsale-http-api",
                "onsale-infrastructure",
                "onsale-domain",
                "base64",
                "diesel",
                "diesel-async",
                "futures-util",
                "reqwest",
                "serde_json",
                "tokio",
                "tokio-util",
                "uuid",
            ],
        ),
        ("arch-tests", &["serde_json"]),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_crate_depends_only_on_what_its_layer_allows() {
        let out = Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(root())
            .output()
            .expect("cargo metadata runs");
        let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
        let mut wrong = vec![];
        for package in metadata["packages"].as_array().expect("packages") {
            let name = package["name"].as_str().expect("a name");
            let Some(may) = allowed.get(name) else {
                wrong.push(format!("{name} is not in the table"));
                continue;
            };
            for dependency in package["dependencies"].as_array().expect("dependencies") {
                let on = dependency["name"].as_str().expect("a name");
                if dependency["kind"] != "dev" && !may.contains(&on) {
                    wrong.push(format!("{name} -> {on}"));
                }
            }
        }
        assert!(wrong.is_empty(), "arrows that the table does not allow: {wrong:#?}");
    }

    fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }

    #[test]
    fn no_test_is_ignored_and_nothing_is_left_to_do_in_the_code() {
        let mut all = vec![];
        sources(&root().join("crates"), &mut all);
        // Written in two parts, so that this test does not find itself.
        let forbidden =
            [concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimple", "mented!("), concat!("db", "g!(")];
        for (path, text) in &all {
            for word in forbidden {
                assert!(!text.contains(word), "{} contains {word}", path.display());
            }
        }
        assert!(all.len() > 50, "the sources were not found");
    }

    #[test]
    fn every_migration_goes_down_too_and_every_script_says_what_it_does_and_is_declared() {
        for entry in std::fs::read_dir(root().join("migrations")).expect("migrations").flatten() {
            assert!(entry.path().join("up.sql").is_file() && entry.path().join("down.sql").is_file(), "{entry:?}");
        }
        let redis = root().join("crates/infrastructure/src/redis");
        let declarations = std::fs::read_to_string(redis.join("scripts.rs")).expect("text");
        for entry in std::fs::read_dir(redis.join("scripts")).expect("scripts").flatten() {
            let text = std::fs::read_to_string(entry.path()).expect("text");
            assert!(text.starts_with("-- "), "{entry:?} has no header");
            let name = entry.file_name().into_string().expect("text").replace(".lua", "");
            if name != "prelude" {
                assert!(declarations.contains(&format!("\n    {name} (")), "{entry:?} is not declared in scripts.rs");
                assert!(!text.contains("ARGV"), "{entry:?} takes arguments by their place");
            }
        }
    }
}
