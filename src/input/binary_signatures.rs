//! Recognizes files that aren't text by their first bytes, and says how to get text out of them.

/// The first bytes, with what the file is and what to do instead.
pub(super) const SIGNATURES: &[(&[u8], &str)] = &[
    (
        b"PK\x03\x04",
        "an Excel workbook or another zip archive; save it as \"CSV UTF-8\" and pass that file",
    ),
    (
        b"\xD0\xCF\x11\xE0",
        "an old Excel workbook; save it as \"CSV UTF-8\" and pass that file",
    ),
    (b"%PDF", "a PDF; export the data as CSV or JSON instead"),
    (
        b"\x1F\x8B",
        "gzip-compressed; unpack it with gunzip and pass the result",
    ),
    (
        b"BZh",
        "bzip2-compressed; unpack it with bunzip2 and pass the result",
    ),
    (
        b"\x28\xB5\x2F\xFD",
        "zstd-compressed; unpack it with unzstd and pass the result",
    ),
    (
        b"\xFD7zXZ",
        "xz-compressed; unpack it with unxz and pass the result",
    ),
    (
        b"7z\xBC\xAF",
        "a 7-Zip archive; unpack it and pass the file in it",
    ),
    (b"SQLite f", "an SQLite database; export the rows as CSV"),
    (b"PAR1", "a Parquet file; export the rows as CSV"),
];

/// Returns what a binary file is and what to do instead.
pub(super) fn recognize(start: &[u8]) -> Option<&'static str> {
    let mut signatures = SIGNATURES.iter();
    let found = signatures.find(|(mark, _)| start.starts_with(mark));
    found.map(|(_, what)| *what)
}
