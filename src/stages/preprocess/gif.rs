//! How large a GIF is: its screen, and the frame on it (GIF89a, sections 18 and 20).

use super::format::{Size, u16_le};

/// The size of the screen. Its first frame may be larger: what sticks out is decoded too, and cut off.
pub(super) fn size(bytes: &[u8]) -> Option<Size> {
    let (width, height) = (u32::from(u16_le(bytes, 6)?), u32::from(u16_le(bytes, 8)?));
    let screen = u64::from(width) * u64::from(height);
    let (frame_width, frame_height) = first_frame(bytes).unwrap_or((width, height));
    let frame = u64::from(frame_width) * u64::from(frame_height);
    // RGBA of the screen, RGBA of the frame and its indices; RGB is made of the screen when the frame is gone.
    let memory = (4 * screen + 5 * frame).max((4 + 3) * screen);
    Some(Size { width, height, memory })
}

/// Width and height of the first frame, behind the extensions that come before it.
fn first_frame(bytes: &[u8]) -> Option<(u32, u32)> {
    let flags = *bytes.get(10)?;
    let colours = if flags & 0x80 != 0 { 2 << (flags & 7) } else { 0 };
    let mut at = 13 + 3 * colours;
    loop {
        match *bytes.get(at)? {
            b'!' => at = behind_sub_blocks(bytes, at + 2)?,
            b',' => return Some((u16_le(bytes, at + 5)?.into(), u16_le(bytes, at + 7)?.into())),
            _ => return None,
        }
    }
}

/// Behind the sub-block without bytes, GIF89a section 16.
fn behind_sub_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            length => at += 1 + length,
        }
    }
}
