//! MD5 of two messages at the same time.
//!
//! Each step of MD5 needs the result of the step before it, so one message leaves most of a core
//! idle. The steps of two messages alternate here, which takes about 1.1 times as long as those of
//! one. The crate `md-5` hashes single messages, and tests compare the two.

/// Bytes per block.
pub(super) const BLOCK_BYTES: usize = 64;

/// A block of a message.
pub(super) type Block = [u8; BLOCK_BYTES];

/// What MD5 keeps from block to block.
pub(super) type State = [u32; 4];

/// Calls `$four` for each four steps: the function that mixes, and for each step the word of the
/// block, the rotation and the constant (RFC 1321, section 3.4).
#[rustfmt::skip] // As a table, like in the RFC.
macro_rules! all_steps {
    ($four:ident) => {
        $four!(f, 0, 7, 0xd76a_a478, 1, 12, 0xe8c7_b756, 2, 17, 0x2420_70db, 3, 22, 0xc1bd_ceee);
        $four!(f, 4, 7, 0xf57c_0faf, 5, 12, 0x4787_c62a, 6, 17, 0xa830_4613, 7, 22, 0xfd46_9501);
        $four!(f, 8, 7, 0x6980_98d8, 9, 12, 0x8b44_f7af, 10, 17, 0xffff_5bb1, 11, 22, 0x895c_d7be);
        $four!(f, 12, 7, 0x6b90_1122, 13, 12, 0xfd98_7193, 14, 17, 0xa679_438e, 15, 22, 0x49b4_0821);
        $four!(g, 1, 5, 0xf61e_2562, 6, 9, 0xc040_b340, 11, 14, 0x265e_5a51, 0, 20, 0xe9b6_c7aa);
        $four!(g, 5, 5, 0xd62f_105d, 10, 9, 0x0244_1453, 15, 14, 0xd8a1_e681, 4, 20, 0xe7d3_fbc8);
        $four!(g, 9, 5, 0x21e1_cde6, 14, 9, 0xc337_07d6, 3, 14, 0xf4d5_0d87, 8, 20, 0x455a_14ed);
        $four!(g, 13, 5, 0xa9e3_e905, 2, 9, 0xfcef_a3f8, 7, 14, 0x676f_02d9, 12, 20, 0x8d2a_4c8a);
        $four!(h, 5, 4, 0xfffa_3942, 8, 11, 0x8771_f681, 11, 16, 0x6d9d_6122, 14, 23, 0xfde5_380c);
        $four!(h, 1, 4, 0xa4be_ea44, 4, 11, 0x4bde_cfa9, 7, 16, 0xf6bb_4b60, 10, 23, 0xbebf_bc70);
        $four!(h, 13, 4, 0x289b_7ec6, 0, 11, 0xeaa1_27fa, 3, 16, 0xd4ef_3085, 6, 23, 0x0488_1d05);
        $four!(h, 9, 4, 0xd9d4_d039, 12, 11, 0xe6db_99e5, 15, 16, 0x1fa2_7cf8, 2, 23, 0xc4ac_5665);
        $four!(i, 0, 6, 0xf429_2244, 7, 10, 0x432a_ff97, 14, 15, 0xab94_23a7, 5, 21, 0xfc93_a039);
        $four!(i, 12, 6, 0x655b_59c3, 3, 10, 0x8f0c_cc92, 10, 15, 0xffef_f47d, 1, 21, 0x8584_5dd1);
        $four!(i, 8, 6, 0x6fa8_7e4f, 15, 10, 0xfe2c_e6e0, 6, 15, 0xa301_4314, 13, 21, 0x4e08_11a1);
        $four!(i, 4, 6, 0xf753_7e82, 11, 10, 0xbd3a_f235, 2, 15, 0x2ad7_d2bb, 9, 21, 0xeb86_d391);
    };
}

/// The functions of RFC 1321, each plus `a`. The terms without `b` come first, because `b` is the
/// result of the previous step.
#[inline(always)]
fn f(a: u32, b: u32, c: u32, d: u32) -> u32 {
    a.wrapping_add(d ^ (b & (c ^ d)))
}

#[inline(always)]
fn g(a: u32, b: u32, c: u32, d: u32) -> u32 {
    a.wrapping_add(c & !d).wrapping_add(b & d)
}

#[inline(always)]
fn h(a: u32, b: u32, c: u32, d: u32) -> u32 {
    a.wrapping_add(b ^ (c ^ d))
}

#[inline(always)]
fn i(a: u32, b: u32, c: u32, d: u32) -> u32 {
    a.wrapping_add(c ^ (b | !d))
}

/// Adds blocks to two states: as many as both have.
pub(super) fn compress_pair(
    left: &mut State,
    left_blocks: &[Block],
    right: &mut State,
    right_blocks: &[Block],
) {
    for (left_block, right_block) in left_blocks.iter().zip(right_blocks) {
        let (left_words, right_words) = (words(left_block), words(right_block));
        let [mut a, mut b, mut c, mut d] = *left;
        let [mut p, mut q, mut r, mut s] = *right;
        macro_rules! step {
            ($mix:ident, $word:expr, $rotation:expr, $constant:expr,
             $a:ident $b:ident $c:ident $d:ident, $p:ident $q:ident $r:ident $s:ident) => {
                $a = $a.wrapping_add(left_words[$word]).wrapping_add($constant);
                $p = $p.wrapping_add(right_words[$word]).wrapping_add($constant);
                $a = $mix($a, $b, $c, $d).rotate_left($rotation).wrapping_add($b);
                $p = $mix($p, $q, $r, $s).rotate_left($rotation).wrapping_add($q);
            };
        }
        macro_rules! four_steps {
            ($mix:ident, $w0:expr, $r0:expr, $k0:expr, $w1:expr, $r1:expr, $k1:expr,
             $w2:expr, $r2:expr, $k2:expr, $w3:expr, $r3:expr, $k3:expr) => {
                step!($mix, $w0, $r0, $k0, a b c d, p q r s);
                step!($mix, $w1, $r1, $k1, d a b c, s p q r);
                step!($mix, $w2, $r2, $k2, c d a b, r s p q);
                step!($mix, $w3, $r3, $k3, b c d a, q r s p);
            };
        }
        all_steps!(four_steps);
        add(left, [a, b, c, d]);
        add(right, [p, q, r, s]);
    }
}

#[inline(always)]
fn words(block: &Block) -> [u32; BLOCK_BYTES / 4] {
    let mut words = [0; BLOCK_BYTES / 4];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

#[inline(always)]
fn add(state: &mut State, change: State) {
    for (word, change) in state.iter_mut().zip(change) {
        *word = word.wrapping_add(change);
    }
}
