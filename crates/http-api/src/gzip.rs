//! One gzip file of pieces that were compressed by themselves, so that what many read is compressed once.
//!
//! A piece is blocks of deflate (RFC 1951) that end on a whole byte, none of which is the last, and its checksum, of which that
//! of the whole can be made. So the file has one member (RFC 1952): not every client reads what stands behind the first.

use bytes::Bytes;
use flate2::{Compress, CompressError, Compression, Crc, FlushCompress};

/// Most bytes of a block that is not compressed.
const STORED: usize = 65_535;

/// A piece of a file.
pub(crate) struct Piece {
    blocks: Bytes,
    sum: Crc,
}

impl Piece {
    /// Compressed, at the level that costs least.
    pub(crate) fn packed(text: &[u8]) -> Self {
        match deflated(text) {
            Ok(blocks) => Self::of(text, blocks),
            // There is no text on which this fails; if there were one, it could be sent as it is.
            Err(_) => Self::stored(text),
        }
    }

    /// As it is, between heads of five bytes.
    pub(crate) fn stored(text: &[u8]) -> Self {
        let mut blocks = Vec::with_capacity(text.len() + text.len() / STORED * 5 + 5);
        for block in text.chunks(STORED) {
            let size = u16::try_from(block.len()).unwrap_or(u16::MAX);
            blocks.push(0);
            blocks.extend(size.to_le_bytes());
            blocks.extend((!size).to_le_bytes());
            blocks.extend(block);
        }
        Self::of(text, blocks)
    }

    fn of(text: &[u8], blocks: Vec<u8>) -> Self {
        let mut sum = Crc::new();
        sum.update(text);
        Self { blocks: blocks.into(), sum }
    }
}

fn deflated(text: &[u8]) -> Result<Vec<u8>, CompressError> {
    let mut packer = Compress::new(Compression::fast(), false);
    let mut blocks = Vec::with_capacity(text.len() / 2 + 1_024);
    loop {
        let taken = usize::try_from(packer.total_in()).unwrap_or(usize::MAX);
        packer.compress_vec(text.get(taken..).unwrap_or_default(), &mut blocks, FlushCompress::Sync)?;
        // Where there is room left, nothing more is to come.
        if blocks.len() < blocks.capacity() {
            return Ok(blocks);
        }
        blocks.reserve(blocks.capacity());
    }
}

/// A file that is being written.
#[derive(Default)]
pub(crate) struct File {
    sum: Crc,
}

impl File {
    /// What stands first: that it is deflate, and no name, time or system.
    pub(crate) const HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

    /// The bytes of the next piece.
    pub(crate) fn add(&mut self, piece: &Piece) -> Bytes {
        self.sum.combine(&piece.sum);
        piece.blocks.clone()
    }

    /// What stands last: an empty block, the checksum and the size of the text.
    pub(crate) fn end(&self) -> Bytes {
        let mut end = vec![3, 0];
        end.extend(self.sum.sum().to_le_bytes());
        end.extend(self.sum.amount().to_le_bytes());
        end.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn pieces_of_any_kind_make_one_file() {
        // What does not become smaller, and what does.
        let noise: Vec<u8> = (0..4_000_u32).flat_map(|number| Sha256::digest(number.to_le_bytes())).collect();
        let words = "{\"index\":1,\"kind\":\"joined\"}\n".repeat(10_000).into_bytes();
        let pieces = [Piece::packed(&noise), Piece::stored(&words), Piece::packed(&words), Piece::stored(b"")];
        assert!(pieces[2].blocks.len() < words.len() / 10);
        let (mut written, mut file) = (File::HEAD.to_vec(), File::default());
        for piece in &pieces {
            written.extend(file.add(piece));
        }
        written.extend(file.end());
        // It stops at the end of the first member.
        let mut read = vec![];
        GzDecoder::new(&written[..]).read_to_end(&mut read).expect("a whole file");
        assert!(read == [&noise[..], &words[..], &words[..]].concat());
    }

    #[test]
    fn a_file_may_be_empty() {
        let written = [File::HEAD, &File::default().end()[..]].concat();
        let mut read = vec![];
        GzDecoder::new(&written[..]).read_to_end(&mut read).expect("a whole file");
        assert!(read.is_empty());
    }
}
